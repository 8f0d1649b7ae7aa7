//! The results of `specdec bench` as one HTML file without scripts or external resources.

use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};

use super::report::Report;
use crate::error::{Error, Result};

/// The page of a report.
pub(super) fn page(report: &Report) -> Result<String> {
    let mut environment = Environment::new();
    let template = include_str!("report.html");
    // The extension of the name turns HTML escaping on.
    let added = environment.add_template("report.html", template);
    let cost_ticks = report.passes.as_ref().map(|passes| {
        let ratios = passes.verify.iter().map(|time| time.ratio);
        ticks(ratios.fold(1.0, f64::max))
    });
    let page = added.and_then(|()| {
        let template = environment.get_template("report.html")?;
        template.render(context! {
            report => Value::from(Serde(report)),
            cost_ticks,
            version => env!("CARGO_PKG_VERSION"),
        })
    });
    page.map_err(|error| Error::Compute(format!("the report's page: {error:#}")))
}

/// The numbers on an axis from 0 to at least `max`: at most seven, at round distances.
fn ticks(max: f64) -> Vec<f64> {
    let steps = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0];
    let step = steps.into_iter().find(|step| max / step <= 6.0);
    let step = step.unwrap_or(max / 6.0);
    let last = (max / step).ceil() as usize;
    (0..=last).map(|tick| tick as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_covers_its_values() {
        assert_eq!(ticks(1.0), [0.0, 0.5, 1.0]);
        assert_eq!(ticks(4.2), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        for max in [1.0, 7.5, 31.0, 299.0, 1234.5] {
            let ticks = ticks(max);
            assert!(
                ticks.len() <= 8 && *ticks.last().unwrap() >= max,
                "{max}: {ticks:?}"
            );
        }
    }
}
