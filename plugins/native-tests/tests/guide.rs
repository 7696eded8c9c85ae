//! What `docs/plugins.md` shows in C compiles without a warning, loads, and works. (What it shows in Rust is a test of the SDK.)

use keylane_plugin::testing::TestEvent;
use keylane_plugin_native_tests::{compiled, load};

#[test]
fn the_plugin_of_the_guide_works() {
    let guide = include_str!("../../../docs/plugins.md");
    let (_, rest) = guide.split_once("```c\n").expect("the guide has code in C");
    let (source, _) = rest.split_once("```").expect("the code ends");
    for standard in ["c99", "c17"] {
        let mut host = load(&compiled(standard, source), "{}").expect("it is created");
        host.send(&[TestEvent::traffic("c", 40, 2), TestEvent::user(1)]);
        assert_eq!(host.counter("moved_bytes"), 42);
    }
}
