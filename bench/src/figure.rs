//! Figures with their goals, and the table of them.

/// A result, what it was derived from, and its goal.
pub struct Figure {
    what: &'static str,
    measured: String,
    figure: f64,
    /// Whether the goal is a minimum; otherwise it is a maximum.
    at_least: bool,
    goal: f64,
    unit: &'static str,
}

impl Figure {
    /// A figure that should be at least `goal`.
    pub fn least(
        what: &'static str,
        measured: String,
        figure: f64,
        goal: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            what,
            measured,
            figure,
            at_least: true,
            goal,
            unit,
        }
    }

    /// A figure that should be at most `goal`.
    pub fn most(
        what: &'static str,
        measured: String,
        figure: f64,
        goal: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            at_least: false,
            ..Self::least(what, measured, figure, goal, unit)
        }
    }

    fn is_reached(&self) -> bool {
        match self.at_least {
            true => self.figure >= self.goal,
            false => self.figure <= self.goal,
        }
    }
}

/// A table in Markdown.
pub fn table(figures: &[Figure]) -> String {
    let mut table = format!(
        "| {:<48} | {:<32} | {:>13} | {:>16} | |\n|{:-<50}|{:-<34}|{:->15}|{:->18}|---|\n",
        "what", "measured", "figure", "goal", "", "", "", ""
    );
    for figure in figures {
        table.push_str(&format!(
            "| {:<48} | {:<32} | {:>7.3} {:<5} | {:<8} {:>7} | {} |\n",
            figure.what,
            figure.measured,
            figure.figure,
            figure.unit,
            if figure.at_least {
                "at least"
            } else {
                "at most"
            },
            figure.goal,
            if figure.is_reached() {
                "reached"
            } else {
                "MISSED"
            }
        ));
    }
    table
}
