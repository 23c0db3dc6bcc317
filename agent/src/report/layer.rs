//! The `tracing` layer: each record goes to the console and to the queue for the controller.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bessemer_proto::v1::LogLevel;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

use super::{Console, Report};

/// Libraries of which only warnings are of use to an operator.
const LIBRARIES: [&str; 11] = [
    "h2",
    "hyper",
    "hyper_util",
    "tonic",
    "tower",
    "rustls",
    "reqwest",
    "hickory",
    "netlink",
    "rtnetlink",
    "mio",
];

/// Shows records on the console and queues them for the controller.
#[derive(Clone)]
pub struct LogLayer {
    console: Arc<Console>,
    report: Report,
    debug: Arc<AtomicBool>,
    started: Instant,
}

impl LogLayer {
    /// A layer at info level.
    #[must_use]
    pub fn new(console: Arc<Console>, report: Report) -> Self {
        Self { console, report, debug: Arc::new(AtomicBool::new(false)), started: Instant::now() }
    }

    /// Switches the debug level on: the boot parameters that ask for it are found late.
    pub fn set_debug(&self, debug: bool) {
        self.debug.store(debug, Ordering::Relaxed);
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let library = LIBRARIES.iter().any(|library| metadata.target().starts_with(library));
        let debug = self.debug.load(Ordering::Relaxed);
        let limit = match (library, debug) {
            (true, _) => Level::WARN,
            (false, true) => Level::DEBUG,
            (false, false) => Level::INFO,
        };
        metadata.is_span() || *metadata.level() <= limit
    }
}

/// Text of a span's fields, kept with the span.
struct SpanText(String);

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    // Never "always" or "never": the level changes while we run.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut text = Text::default();
        attributes.record(&mut text);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanText(text.fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut text = Text::default();
        values.record(&mut text);
        if let Some(span) = context.span(id)
            && let Some(SpanText(fields)) = span.extensions_mut().get_mut()
        {
            fields.push_str(&text.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let mut message = text.message + &text.fields;
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanText(fields)) = span.extensions().get() {
                message.push_str(fields);
            }
        }
        let message = one_line(&message);
        let metadata = event.metadata();
        let at = self.started.elapsed();
        self.console.line(&format!(
            "[{:>5}.{:03}] {:<5} {}: {message}",
            at.as_secs(),
            at.subsec_millis(),
            metadata.level(),
            metadata.target(),
        ));
        self.report.log(level(*metadata.level()), metadata.target(), message);
    }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG | Level::TRACE => LogLevel::Debug,
    }
}

/// What others wrote must not move the cursor of a console or forge a line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Collects an event's message and ` key=value` fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{}", chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            write!(self.message, "{value:?}").ok();
        } else {
            write!(self.fields, " {}={value:?}", field.name()).ok();
        }
    }
}

/// An error and all its causes, `: ` between them.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries repeat their source.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
