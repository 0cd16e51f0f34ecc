//! From the button to MQTT, as a program beside Home Assistant sees it.

use std::time::Duration;

use doorstep::clock;
use tokio::time::timeout;

use crate::figures::{Figures, Goal, Unit};
use crate::mosquitto::{Mosquitto, Witness, free_port};
use crate::process::Process;

/// So many that the 99th percentile is not the slowest.
const PRESSES: usize = 110;
/// Presses within a second are one ring.
const BETWEEN_PRESSES: Duration = Duration::from_millis(1_100);
/// INTERFACES promises the demo within this.
const READY_WITHIN_MS: f64 = 5_000.0;

/// From the line `ring` on the standard input of `doorstep demo` to the message at mosquitto_sub.
pub(crate) async fn measure(figures: &mut Figures) {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("doorstep/+/ring").await;
    let (mqtt, page) = (format!("mqtt://127.0.0.1:{}", broker.port), format!("127.0.0.1:{}", free_port()));
    let began = clock::now().into_std();
    let mut demo =
        Process::start(&["demo", "--mqtt", &mqtt, "--http", &page, "--media-port", &free_port().to_string()]);
    let (ready, _) = demo.line("demo ready").await;
    let took = (ready - began).as_secs_f64() * 1_000.0;
    figures.add("demo ready after its start", took, Unit::Milliseconds, Goal::AtMost(READY_WITHIN_MS));
    first_ring(&mut demo, &mut witness).await;
    let mut times = Vec::with_capacity(PRESSES);
    for _ in 0..PRESSES {
        tokio::time::sleep(BETWEEN_PRESSES).await;
        let pressed = clock::now();
        demo.type_line("ring").await;
        witness.next().await;
        times.push(pressed.elapsed());
    }
    figures.add_times("ring to MQTT", &mut times, Goal::AtMost(20.0), Goal::None);
    figures.add_p99("ring to MQTT", &mut times, Goal::AtMost(100.0));
}

/// Both ends may still be on their way to the broker.
async fn first_ring(demo: &mut Process, witness: &mut Witness) {
    loop {
        demo.type_line("ring").await;
        if timeout(BETWEEN_PRESSES, witness.next()).await.is_ok() {
            return;
        }
    }
}
