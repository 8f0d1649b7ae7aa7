//! The chi-squared distribution, and the noncentral one.

/// The probability that a chi-squared variable exceeds a value: the regularized gamma function Q(degrees / 2, value / 2), by
/// its recurrence.
pub(super) fn tail(value: f64, degrees: usize) -> f64 {
    let half = value / 2.0;
    if degrees == 0 {
        return 1.0;
    }
    let (mut a, mut q) = match degrees % 2 {
        0 => (1.0, libm::exp(-half)),
        _ => (0.5, libm::erfc(half.sqrt())),
    };
    while a < degrees as f64 / 2.0 {
        q += two_more_degrees(half, a);
        a += 1.0;
    }
    q.min(1.0)
}

/// Q(a + 1, half) - Q(a, half).
fn two_more_degrees(half: f64, a: f64) -> f64 {
    libm::exp(a * half.ln() - half - libm::lgamma(a + 1.0))
}

/// The value that a chi-squared variable exceeds with this probability.
pub(super) fn critical_value(probability: f64, degrees: usize) -> f64 {
    root(|value| probability - tail(value, degrees))
}

/// The noncentrality with which a noncentral chi-squared variable exceeds `value` with probability `power`.
pub(super) fn noncentrality(value: f64, degrees: usize, power: f64) -> f64 {
    root(|noncentrality| noncentral_tail(value, degrees, noncentrality) - power)
}

/// The probability that a noncentral chi-squared variable exceeds a value: a mixture of chi-squared variables, whose additional
/// pairs of degrees of freedom are Poisson-distributed with mean `noncentrality` / 2.
fn noncentral_tail(value: f64, degrees: usize, noncentrality: f64) -> f64 {
    let mean = noncentrality / 2.0;
    let mut weight = libm::exp(-mean);
    let (mut total, mut probability) = (0.0, 0.0);
    let mut tail = tail(value, degrees);
    let mut pairs = 0.0;
    // Beyond the mean, weights only fall.
    while pairs <= mean || weight > 1e-12 {
        total += weight;
        probability += weight * tail;
        tail += two_more_degrees(value / 2.0, degrees as f64 / 2.0 + pairs);
        pairs += 1.0;
        weight *= mean / pairs;
    }
    probability / total
}

/// Where an increasing function of positive numbers is 0.
fn root(function: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while function(high) < 0.0 {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        match function(middle) < 0.0 {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published critical values.
    #[test]
    fn probabilities_of_chi_squared() {
        for (degrees, value, p) in [
            (1, 3.841, 0.05),
            (2, 9.210, 0.01),
            (15, 24.996, 0.05),
            (15, 37.697, 0.001),
        ] {
            assert!((tail(value, degrees) / p - 1.0).abs() < 1e-3, "{degrees}");
        }
        assert!((tail(0.0, 15) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn critical_values_have_their_probability() {
        for degrees in 1..=15 {
            let critical = critical_value(1e-6, degrees);
            assert!(
                (tail(critical, degrees) / 1e-6 - 1.0).abs() < 1e-6,
                "{degrees}"
            );
        }
    }

    /// With one degree of freedom, the variable is the square of a normal one whose mean is the root of the noncentrality.
    #[test]
    fn noncentral_probabilities_of_a_shifted_normal() {
        let above = |z: f64| libm::erfc(z / std::f64::consts::SQRT_2) / 2.0;
        for (value, mean) in [(4.0, 0.5), (9.0, 3.0), (24.0, 6.5)] {
            let expected = above(f64::sqrt(value) - mean) + above(f64::sqrt(value) + mean);
            let found = noncentral_tail(value, 1, mean * mean);
            assert!(
                (found - expected).abs() < 1e-9,
                "{value}: {found} {expected}"
            );
        }
        let needed = noncentrality(critical_value(1e-6, 1), 1, 0.95);
        // (4.8916 + 1.6449)^2
        assert!((needed - 42.726).abs() < 0.01, "{needed}");
    }
}
