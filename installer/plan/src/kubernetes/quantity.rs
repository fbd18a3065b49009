//! Amounts as the API writes them: `250m`, `1.5Gi`, `2e3`.

/// In thousandths, rounded up; nothing where the text is no quantity or is negative.
pub fn milli(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    // Thousandths of thousandths and below do not matter to anybody here.
    let digits: String = part.chars().chain("000000".chars()).take(6).collect();
    let millionths = parse(whole)?
        .checked_mul(1_000_000)?
        .checked_add(parse(&digits)?)?;
    let (times, by) = factor(suffix)?;
    let scaled = millionths
        .checked_mul(times)?
        .div_ceil(by.checked_mul(1_000)?);
    u64::try_from(scaled).ok()
}

/// In whole units, rounded up.
pub fn units(text: &str) -> Option<u64> {
    milli(text).map(|milli| milli.div_ceil(1_000))
}

fn parse(digits: &str) -> Option<u128> {
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse().ok()
}

/// What a suffix multiplies by, and divides by.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    let times = |factor| Some((factor, 1));
    match suffix {
        "" => times(1),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => times(1_000),
        "M" => times(1_000_000),
        "G" => times(1_000_000_000),
        "T" => times(1_000_000_000_000),
        "P" => times(1_000_000_000_000_000),
        "E" => times(1_000_000_000_000_000_000),
        "Ki" => times(1 << 10),
        "Mi" => times(1 << 20),
        "Gi" => times(1 << 30),
        "Ti" => times(1 << 40),
        "Pi" => times(1 << 50),
        "Ei" => times(1 << 60),
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E'])?;
            let size = exponent.trim_start_matches(['+', '-']).parse().ok()?;
            let power = 10_u128.checked_pow(size)?;
            Some(if exponent.starts_with('-') {
                (1, power)
            } else {
                (power, 1)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_the_api_writes_them() {
        for (text, milli_units) in [
            ("250m", 250),
            ("2", 2_000),
            ("0.5", 500),
            ("1.5Ki", 1_536_000),
            ("1e3", 1_000_000),
            ("100u", 1),
            ("3920m", 3_920),
            ("12E2", 1_200_000),
        ] {
            assert_eq!(milli(text), Some(milli_units), "{text}");
        }
        assert_eq!(units("16384Mi"), Some(16 << 30));
        assert_eq!(units("1500m"), Some(2));
        for text in ["", "x", "-1", "1Q", "1.2.3"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }
}
