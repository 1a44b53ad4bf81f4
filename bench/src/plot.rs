//! A bar chart in SVG, with a logarithmic axis: seconds from less than one to hundreds.

use crate::report::Bar;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 70.0;
const BAR: f64 = 22.0;
const STEP: f64 = 30.0;
const GAP: f64 = 34.0;

/// Draws the bars, group by group. Readable on light and dark backgrounds.
pub fn svg(bars: &[Bar]) -> String {
    let longest = bars
        .iter()
        .map(|(_, _, seconds)| *seconds)
        .fold(1.0, f64::max);
    let decades = longest.log10().ceil().max(1.0);
    let scale = (WIDTH - LEFT - RIGHT) / decades;
    // The axis begins at a second.
    let x = |seconds: f64| LEFT + seconds.max(1.05).log10() * scale;
    let mut body = String::new();
    let mut y = 10.0;
    let mut group = "";
    for (of, label, seconds) in bars {
        if *of != group {
            group = of;
            y += GAP;
            body.push_str(&format!(
                "<text class='group' x='10' y='{:.0}'>{group}</text>\n",
                y - 12.0
            ));
        }
        let class = if label.starts_with("ours") {
            "ours"
        } else {
            "theirs"
        };
        body.push_str(&format!(
            "<text x='{:.0}' y='{:.0}' text-anchor='end'>{label}</text>\
             <rect class='{class}' x='{LEFT:.0}' y='{y:.0}' width='{:.1}' height='{BAR:.0}' rx='3'/>\
             <text x='{:.1}' y='{:.0}'>{seconds:.1} s</text>\n",
            LEFT - 8.0,
            y + 16.0,
            x(*seconds) - LEFT,
            x(*seconds) + 6.0,
            y + 16.0,
        ));
        y += STEP;
    }
    let mut axis = String::new();
    for decade in 0..=decades as i32 {
        let seconds = 10f64.powi(decade);
        let at = LEFT + f64::from(decade) * scale;
        axis.push_str(&format!(
            "<line x1='{at:.1}' y1='24' x2='{at:.1}' y2='{y:.0}'/><text x='{at:.1}' y='{:.0}' text-anchor='middle'>{seconds} s</text>\n",
            y + 18.0
        ));
    }
    let height = y + 30.0;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH:.0} {height:.0}' font-family='sans-serif' font-size='13'>\n\
         <title>Seconds for bundling and unbundling (logarithmic; shorter is better)</title>\n\
         <style>text {{ fill: #57606a }} .group {{ font-weight: bold; font-size: 15px }} .ours {{ fill: #2da44e }} \
         .theirs {{ fill: #8c959f }} line {{ stroke: #8c959f; stroke-opacity: .35 }} \
         @media (prefers-color-scheme: dark) {{ text {{ fill: #adbac7 }} .ours {{ fill: #57ab5a }} }}</style>\n\
         {axis}{body}</svg>\n"
    )
}
