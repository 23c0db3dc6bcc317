//! `/metrics`: sensors and the traffic with BMCs in the text form of OpenMetrics 1.0, which Prometheus scrapes. Names of
//! sensors begin with `baremetal_` as those of the ironic-prometheus-exporter do; units are in the names.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{Board, Readings};
use crate::bmc::{Health, Sensor, queue};

/// What the answer is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Unit of a reading, name of its metric, what it tells. Readings in other units are not shown.
const UNITS: [(&str, &str, &str); 6] = [
    ("Celsius", "baremetal_temperature_celsius", "Temperatures"),
    ("RPM", "baremetal_fan_rpm", "Fans, revolutions per minute"),
    ("Percent", "baremetal_fan_percent", "Fans, percent of their full speed"),
    ("Watts", "baremetal_power_watts", "Power that is drawn or given"),
    ("Volts", "baremetal_voltage_volts", "Voltages"),
    ("Amps", "baremetal_current_amperes", "Currents"),
];

/// Name and value of a label.
type Label<'a> = (&'static str, &'a str);

#[derive(Debug)]
struct Snapshot(Vec<Readings>);

#[derive(Debug)]
struct Traffic(queue::Calls);

/// All that is known now; `interval` is the time between two readings of a machine.
pub fn exposition(board: &Board, interval: Duration) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(board.all(interval))));
    registry.register_collector(Box::new(Traffic(queue::total())));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (unit, name, help) in UNITS {
            self.gauge(&mut encoder, (name, help), |sensor| sensor.reading.filter(|_| sensor.unit == unit))?;
        }
        let help = "What the BMC says of what a sensor measures: 0 OK, 1 warning, 2 critical";
        self.gauge(&mut encoder, ("baremetal_sensor_health", help), |sensor| {
            Some(match sensor.health? {
                Health::Ok => 0.0,
                Health::Warning => 1.0,
                Health::Critical => 2.0,
            })
        })?;
        let help = "Whether the machine's sensors could be read last time";
        let mut up = encoder.encode_descriptor("baremetal_sensors_up", help, None, MetricType::Gauge)?;
        for readings in &self.0 {
            let node = readings.node.to_string();
            let labels = labels(readings, &node);
            up.encode_family(&labels)?.encode_gauge(&u32::from(readings.is_up))?;
        }
        Ok(())
    }
}

impl Snapshot {
    /// One metric: each sensor that has a value of it.
    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        value: impl Fn(&Sensor) -> Option<f64>,
    ) -> fmt::Result {
        let has_any =
            self.0.iter().flat_map(|readings| readings.sensors.iter()).any(|one| value(one).is_some());
        if !has_any {
            return Ok(());
        }
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for readings in &self.0 {
            let node = readings.node.to_string();
            for sensor in readings.sensors.iter() {
                let Some(value) = value(sensor) else { continue };
                let mut labels = labels(readings, &node);
                labels.extend([
                    ("kind", sensor.kind.as_str()),
                    ("sensor_id", sensor.id.as_str()),
                    ("sensor", sensor.name.as_str()),
                ]);
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

fn labels<'a>(readings: &'a Readings, node: &'a str) -> Vec<Label<'a>> {
    vec![
        ("node_uuid", node),
        ("node_name", readings.name.as_deref().unwrap_or_default()),
        ("instance_uuid", readings.instance.as_deref().unwrap_or_default()),
        ("driver", &readings.driver),
    ]
}

impl Collector for Traffic {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(calls) = self;
        let counters = [
            ("bessemer_bmc_calls", "Calls to BMCs", calls.number as f64),
            ("bessemer_bmc_failed_calls", "Calls to BMCs that failed or were given up", calls.failed as f64),
            ("bessemer_bmc_call_seconds", "Time that BMCs took for calls", calls.time.as_secs_f64()),
            (
                "bessemer_bmc_waited_seconds",
                "Time that calls waited for their turn",
                calls.waited.as_secs_f64(),
            ),
        ];
        for (name, help, value) in counters {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bmc::SensorKind, node::Node};

    fn sensor(kind: SensorKind, id: &str, reading: Option<f64>, unit: &'static str) -> Sensor {
        let (id, name) = (id.to_owned(), format!("{id} \"quoted\"\n"));
        Sensor { kind, id, name, reading, unit, state: None, health: Some(Health::Warning), more: [].into() }
    }

    #[test]
    fn readings_have_units_in_their_names_and_names_of_sensors_cannot_break_lines() {
        let (board, mut node) = (Board::default(), Node::new("redfish"));
        node.name = Some("rack1".into());
        let sensors = vec![
            sensor(SensorKind::Temperature, "0@A", Some(21.5), "Celsius"),
            sensor(SensorKind::Fan, "1@A", Some(40.0), "Percent"),
            sensor(SensorKind::Drive, "2@A", None, ""),
        ];
        board.put(Readings::of(&node, sensors));
        let text = exposition(&board, Duration::from_secs(60)).unwrap();
        let line = text.lines().find(|line| line.starts_with("baremetal_temperature_celsius{")).unwrap();
        assert!(line.ends_with(" 21.5") && line.contains(&format!("node_uuid=\"{}\"", node.uuid)), "{line}");
        assert!(line.contains("sensor=\"0@A \\\"quoted\\\"\\n\""), "{line}");
        assert!(text.contains("baremetal_fan_percent{") && !text.contains("baremetal_fan_rpm"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("baremetal_sensor_health{")).count(), 3);
        assert!(text.contains("bessemer_bmc_calls_total ") && text.ends_with("# EOF\n"), "{text}");
        board.fail(&node);
        let text = exposition(&board, Duration::from_secs(60)).unwrap();
        let up = text.lines().find(|line| line.starts_with("baremetal_sensors_up{")).unwrap();
        assert!(up.ends_with(" 0"), "{up}");
    }
}
