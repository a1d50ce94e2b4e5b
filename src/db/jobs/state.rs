//! What a job is and where it stands.

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, sqlx::Type)]
        #[serde(rename_all = "snake_case")]
        #[sqlx(type_name = "text", rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As it stands in the table and in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    let known: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    format!("'{}' is none of {}", text.chars().take(80).collect::<String>(), known.join(", "))
                })
            }
        }

    };
}

text_enum! {
    /// What a job does.
    #[derive(Default)]
    JobKind {
        /// Checks an uploaded model or dataset. Made by the server alone.
        Validate = "validate",
        /// Runs a recipe.
        #[default]
        Compress = "compress",
        /// Measures a model.
        Evaluate = "evaluate",
        /// Writes a result in other formats.
        Export = "export",
        /// Measures what each site's compression costs.
        Sensitivity = "sensitivity",
    }
}

text_enum! {
    /// Where a job stands.
    JobState {
        /// It waits for a worker.
        Queued = "queued",
        /// A worker holds it.
        Running = "running",
        /// A worker holds it and was asked to stop.
        Cancelling = "cancelling",
        /// It is done.
        Succeeded = "succeeded",
        /// It can't be done.
        Failed = "failed",
        /// It was stopped on request.
        Cancelled = "cancelled",
        /// Its deadline passed.
        Expired = "expired",
    }
}

impl JobState {
    /// True for a state that never changes again.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip_and_others_are_refused_by_name() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        let refused = "done".parse::<JobState>();
        assert!(refused.is_err_and(|why| why.contains("'done'") && why.contains("succeeded")));
    }
}
