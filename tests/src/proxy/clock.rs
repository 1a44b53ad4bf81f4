//! A server whose clock differs from the client's.

use std::process::Command;
use std::time::{Duration, SystemTime};

use super::rule::Action;

/// S3's limit on the difference between a request's date and its own clock.
const MOST_SKEW: Duration = Duration::from_secs(900);

/// What a server whose clock is ahead answers to a request of this date (`x-amz-date`); `None`: it accepts it.
pub(super) fn refusal(ahead: Duration, date: Option<&str>) -> Option<Action> {
    let now = SystemTime::now() + ahead;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = now.as_secs();
    let date = date.and_then(seconds_of_date);
    if date.is_some_and(|date| date.abs_diff(now) < MOST_SKEW.as_secs()) {
        return None;
    }
    let body = "<Error><Code>RequestTimeTooSkewed</Code><Message>made by a test</Message></Error>";
    Some(Action::Answer {
        status: 403,
        headers: vec![("Date".to_owned(), http_date(now))],
        body: body.to_owned(),
    })
}

/// `20261121T102427Z`, as seconds since 1970.
fn seconds_of_date(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let seconds = number(9..11)? * 3600 + number(11..13)? * 60 + number(13..15)?;
    u64::try_from(days_since_1970(year, month, day) * 86400 + seconds).ok()
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let years: i64 = (1970..year)
        .map(|year| if is_leap(year) { 366 } else { 365 })
        .sum();
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: i64 = lengths
        .iter()
        .take(usize::try_from(month - 1).unwrap_or(0))
        .sum();
    years + months + day - 1
}

fn http_date(seconds: u64) -> String {
    let text = Command::new("date")
        .args(["-u", "-R", "-d", &format!("@{seconds}")])
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    String::from_utf8(text.stdout)
        .unwrap()
        .trim()
        .replace("+0000", "GMT")
}
