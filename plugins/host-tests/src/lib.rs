//! A plugin that misbehaves on demand: it does what the texts that it gets tell it to. It has an allocator of its own, so memory that
//! changes its owner at the boundary does not go unnoticed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::io::Write;

use keylane_plugin::{
    Counter, Create, Cx, Derived, Error, Event, EventType, Info, NoConfig, Outcome, Processor,
    Stop, export_plugin,
};

/// The system's allocator, with a word before each block that says whose it is.
struct Marked;

/// The mark of a living block; turned around when it is freed.
const MARK: u64 = 0x6b65_796c_616e_6521;
const HEAD: usize = 64;

fn padded(layout: Layout) -> Layout {
    // In front of the block is room for the mark, whatever the alignment.
    let align = layout.align().max(HEAD);
    Layout::from_size_align(layout.size() + align, align)
        .expect("blocks are far smaller than the address space")
}

// SAFETY: blocks come from the system's allocator and are aligned as asked for, behind a head of one alignment.
unsafe impl GlobalAlloc for Marked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let whole = padded(layout);
        // SAFETY: the size is not zero, because of the head.
        let block = unsafe { System.alloc(whole) };
        if block.is_null() {
            return block;
        }
        // SAFETY: the head is as large as the alignment, at least 64 bytes.
        unsafe {
            block.cast::<u64>().write(MARK);
            block.add(whole.align())
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let whole = padded(layout);
        // SAFETY: the block came from `alloc`, so its head lies before it; if it did not, this is what finds it out.
        unsafe {
            let head = block.sub(whole.align());
            if head.cast::<u64>().read() != MARK {
                std::process::abort();
            }
            head.cast::<u64>().write(!MARK);
            System.dealloc(head, whole);
        }
    }
}

#[global_allocator]
static ALLOCATOR: Marked = Marked;

/// Has a destructor that runs when its thread ends, which may be after the instance.
struct AtThreadEnd(String);

impl Drop for AtThreadEnd {
    fn drop(&mut self) {
        // Code of the library: it has to be mapped still.
        std::hint::black_box(self.0.len());
    }
}

thread_local! {
    static SEEN: RefCell<Vec<AtThreadEnd>> = const { RefCell::new(Vec::new()) };
}

struct Misbehaves {
    events: Counter,
    panics_in_drop: bool,
    kept: Vec<String>,
}

impl Processor for Misbehaves {
    type Config = NoConfig;
    const INFO: Info =
        Info::new("org.example.misbehaves", env!("CARGO_PKG_VERSION")).emits().stateful(1);

    fn create(_: NoConfig, cx: &Create<'_>) -> Result<Self, Error> {
        if cx.instance_name() == "panics in create" {
            panic!("no create today");
        }
        if cx.instance_name() == "fails in create" {
            return Err("not with me".into());
        }
        Ok(Self { events: cx.counter("events"), panics_in_drop: false, kept: Vec::new() })
    }

    fn process(&mut self, event: &Event<'_>, cx: &Cx<'_>) -> Outcome {
        match event.as_str() {
            Some("panic") => panic!("out of beer"),
            Some("panic in drop") => self.panics_in_drop = true,
            Some("bad") => return Err(Stop::BadEvent("not this one".into())),
            Some("fatal") if !event.is_redelivered() => {
                return Err(Stop::Fatal("lost the file".into()));
            }
            Some("threads") => {
                SEEN.with_borrow_mut(|seen| {
                    seen.push(AtThreadEnd("a thread-local with a destructor".repeat(3)))
                });
                // Outlives the instance, and perhaps the bus.
                std::thread::spawn(|| {
                    SEEN.with_borrow_mut(|seen| seen.push(AtThreadEnd("another".repeat(100))));
                    std::thread::sleep(std::time::Duration::from_millis(200));
                });
            }
            Some("emit") => {
                let text = "made by this allocator, and copied by the host".repeat(5);
                let derived = Derived::new(EventType::user(7)).key_of(event).value(text.as_str());
                cx.emit(&derived).map_err(Stop::bad_event)?;
            }
            Some(text) => self.kept.push(text.to_owned()),
            None => {}
        }
        self.events.inc();
        Ok(())
    }

    fn save_state(&mut self, out: &mut keylane_plugin::StateWriter<'_>) -> Result<(), Error> {
        Ok(out.write_all(self.kept.join("\n").as_bytes())?)
    }

    fn load_state(&mut self, state: &[u8], _: u32) -> Result<(), Error> {
        self.kept = String::from_utf8_lossy(state).lines().map(str::to_owned).collect();
        Ok(())
    }
}

impl Drop for Misbehaves {
    fn drop(&mut self) {
        assert!(!self.panics_in_drop, "a panic in drop");
    }
}

export_plugin!(Misbehaves);
