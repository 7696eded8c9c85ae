//! A struct from another minor: what the reader does not know is left alone, what the writer did not know is zero.

use keylane_plugin_abi as abi;

/// What `keylane_batch_result` may be one day.
#[repr(C)]
struct Longer {
    known: abi::BatchResult,
    appended: [u64; 5],
}

/// What `keylane_batch_result` would have been, had it begun without its last member.
#[repr(C)]
#[derive(Clone, Copy)]
struct Shorter {
    struct_size: u32,
    processed: u32,
    error: *mut abi::ErrorBuffer,
}

/// The reader's side of `Shorter`: it knows one member more than minor 0 had.
#[repr(C)]
#[derive(Clone, Copy)]
struct Grown {
    all_of_minor_0: Shorter,
    appended: u64,
}

// SAFETY: the size comes first, and zero is valid for integers and pointers.
unsafe impl abi::Versioned for Grown {
    const NAME: &'static str = "grown";
    const MIN_SIZE: usize = size_of::<Shorter>();
    const SIZE_OFFSET: usize = 0;
}

#[test]
fn a_newer_writer_is_understood() {
    let known = abi::BatchResult {
        struct_size: 64,
        processed: 3,
        error: std::ptr::null_mut(),
        retry_after_ns: 9,
    };
    let longer = Longer { known, appended: [u64::MAX; 5] };
    // SAFETY: there are 64 bytes, as the struct says.
    let read = unsafe { abi::read(&raw const longer.known) }.expect("it is large enough");
    assert_eq!((read.processed, read.retry_after_ns), (3, 9));
    assert_eq!(longer.appended, [u64::MAX; 5]);
}

#[test]
fn what_an_older_writer_does_not_know_is_zero() {
    let older = [Shorter { struct_size: 16, processed: 3, error: std::ptr::null_mut() }; 2];
    // SAFETY: there are 16 bytes, as the struct says.
    let read =
        unsafe { abi::read(older.as_ptr().cast::<Grown>()) }.expect("it is as large as minor 0");
    assert_eq!((read.all_of_minor_0.processed, read.appended), (3, 0));
}

#[test]
fn less_than_minor_0_is_refused() {
    for size in 0..48 {
        let entry = abi::Entry {
            magic: abi::MAGIC,
            struct_size: size,
            abi_version: abi::ABI_VERSION,
            layout: abi::LAYOUT,
            init: None,
            deinit: None,
            get_factory: None,
        };
        // SAFETY: the struct is larger than it says.
        let error = unsafe { abi::read(&raw const entry) }.expect_err("it is too small");
        assert_eq!(error, abi::TooSmall { name: "keylane_entry", found: size, least: 48 });
    }
}

#[test]
fn a_text_of_an_error_fits_and_ends() {
    let mut error = abi::ErrorBuffer::new();
    error.set(&"ä".repeat(400));
    assert_eq!(error.message().len(), 502);
    error.set("short\0hidden");
    assert_eq!(error.message(), b"short");
    error.message = [b'x'; 504];
    assert_eq!(error.message().len(), 504);
}

#[test]
fn addresses_come_back() {
    for text in ["127.0.0.1:80", "[::1]:443", "[fe80::1%7]:1"] {
        let addr: std::net::SocketAddr = text.parse().expect("an address");
        assert_eq!(abi::Addr::from(addr).to_string(), text);
    }
    assert_eq!(abi::Addr::new([10, 0, 0, 1].into(), None).to_string(), "10.0.0.1");
    assert_eq!(abi::Addr::ABSENT.to_string(), "-");
}
