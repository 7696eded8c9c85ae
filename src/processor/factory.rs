//! Factories: how a bus gets one processor instance per shard.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::processor::fault::panic_text;
use crate::processor::{Contained, Processor, ShardContext, Upcoming};

/// An error of any type, on its way to a message.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A factory whose types have been erased.
pub(crate) type Make = Arc<dyn AnyFactory>;

/// See [`Make`].
pub(crate) trait AnyFactory: Send + Sync {
    fn prepare(&self, upcoming: &Upcoming<'_>) -> Result<(), BoxError>;
    fn make(&self, cx: &ShardContext) -> Result<Box<dyn Processor>, BoxError>;
}

/// Marks factories that are closures returning a processor. See [`ProcessorFactory`].
#[derive(Debug)]
pub enum Infallible {}

/// Marks factories that are closures returning a `Result`. See [`ProcessorFactory`].
#[derive(Debug)]
pub enum Fallible {}

/// Marks types that implement [`ProcessorFactory`] themselves.
#[derive(Debug)]
pub enum Own {}

/// Builds a processor's instances, one for each shard, each on its shard's own thread.
///
/// Closures are factories: `Fn(&ShardContext) -> P`, or `Fn(&ShardContext) -> Result<P, E>` when building can fail. The type
/// parameter only tells these forms apart; it is inferred. A type of one's own implements `ProcessorFactory` with the default.
///
/// The factory stays with the bus: it is called again when an instance is restarted after a fault. Calls for different shards
/// may run at the same time. A panic in it counts as a failure.
///
/// ```
/// use keylane::{Event, Processor, ProcessorFactory, ShardContext};
///
/// struct Tagged(String);
///
/// impl Processor for Tagged {
///     fn process(&mut self, event: &Event) {
///         println!("{}: {event}", self.0);
///     }
/// }
///
/// struct TaggedFactory {
///     tag: String,
/// }
///
/// impl ProcessorFactory for TaggedFactory {
///     type Processor = Tagged;
///     type Error = std::convert::Infallible;
///
///     fn create(&self, cx: &ShardContext) -> Result<Tagged, Self::Error> {
///         Ok(Tagged(format!("{} on shard {}", self.tag, cx.shard())))
///     }
/// }
///
/// # let bus =
/// keylane::Bus::builder()
///     .shards(1)
///     .processor("own", TaggedFactory { tag: "mine".into() })
///     .processor("closure", |cx: &ShardContext| Tagged(cx.processor().to_owned()))
///     .processor("fallible", |_: &ShardContext| {
///         std::env::current_dir().map(|dir| Tagged(dir.display().to_string()))
///     })
///     .build()?;
/// # Ok::<(), keylane::BuildError>(())
/// ```
pub trait ProcessorFactory<Form = Own>: Send + Sync + 'static {
    /// What is built.
    type Processor: Processor;

    /// Why building fails; its text becomes part of a [`BuildError`](crate::BuildError) or a [`SwapError`](crate::SwapError).
    type Error: fmt::Display;

    /// Does what is slow about the coming instances. Called once before them, on the thread that builds the bus or changes its
    /// processors, while the shards work on. The default does nothing.
    ///
    /// # Errors
    /// As the factory sees fit. A failure fails the build or the change, and nothing has changed.
    fn prepare(&self, upcoming: &Upcoming<'_>) -> Result<(), Self::Error> {
        let _ = upcoming;
        Ok(())
    }

    /// Builds the instance for one shard.
    ///
    /// # Errors
    /// As the factory sees fit. While the bus is being built, one failure fails the build.
    fn create(&self, cx: &ShardContext) -> Result<Self::Processor, Self::Error>;
}

impl<F, P> ProcessorFactory<Infallible> for F
where
    F: Fn(&ShardContext) -> P + Send + Sync + 'static,
    P: Processor,
{
    type Processor = P;
    type Error = std::convert::Infallible;

    fn create(&self, cx: &ShardContext) -> Result<P, Self::Error> {
        Ok(self(cx))
    }
}

impl<F, P, E> ProcessorFactory<Fallible> for F
where
    F: Fn(&ShardContext) -> Result<P, E> + Send + Sync + 'static,
    P: Processor,
    E: fmt::Display,
{
    type Processor = P;
    type Error = E;

    fn create(&self, cx: &ShardContext) -> Result<P, E> {
        self(cx)
    }
}

/// Erases a factory's types.
pub(crate) fn erase<Form>(factory: impl ProcessorFactory<Form>) -> Make {
    let factory = Arc::new(Contained::new(factory));
    let prepare = {
        let factory = factory.clone();
        move |upcoming: &Upcoming<'_>| {
            let call = AssertUnwindSafe(|| factory.get().prepare(upcoming));
            match catch_unwind(call) {
                Ok(prepared) => prepared.map_err(|error| BoxError::from(error.to_string())),
                Err(payload) => Err(format!("panicked: {}", panic_text(payload)).into()),
            }
        }
    };
    let make = move |cx: &ShardContext| match factory.get().create(cx) {
        Ok(processor) => Ok(Box::new(processor) as Box<dyn Processor>),
        Err(error) => Err(BoxError::from(error.to_string())),
    };
    Arc::new(Erased { prepare, make })
}

struct Erased<P, M> {
    prepare: P,
    make: M,
}

impl<P, M> AnyFactory for Erased<P, M>
where
    P: Fn(&Upcoming<'_>) -> Result<(), BoxError> + Send + Sync,
    M: Fn(&ShardContext) -> Result<Box<dyn Processor>, BoxError> + Send + Sync,
{
    fn prepare(&self, upcoming: &Upcoming<'_>) -> Result<(), BoxError> {
        (self.prepare)(upcoming)
    }

    fn make(&self, cx: &ShardContext) -> Result<Box<dyn Processor>, BoxError> {
        (self.make)(cx)
    }
}
