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
    let page = added.and_then(|()| {
        let template = environment.get_template("report.html")?;
        template.render(
            context! { report => Value::from(Serde(report)), version => env!("CARGO_PKG_VERSION") },
        )
    });
    page.map_err(|error| Error::Compute(format!("the report's page: {error:#}")))
}
