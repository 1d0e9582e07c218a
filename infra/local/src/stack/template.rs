//! What has to be known of the template before it is deployed. Two facts, read off its lines: the template is
//! this project's own, and its layout is its authors' to keep.

/// What the `CodeUri` of a function of this workspace begins with.
const CODE_URI: &str = "CodeUri: ../target/lambda/";

/// The functions that the template deploys, by the last part of their `CodeUri`.
pub(super) fn functions(template: &str) -> impl Iterator<Item = &str> {
    template
        .lines()
        .filter_map(|line| line.trim().strip_prefix(CODE_URI))
        .map(str::trim)
}

/// The names of the template's parameters.
pub(super) fn parameters(template: &str) -> Vec<&str> {
    template
        .lines()
        .skip_while(|line| line.trim_end() != "Parameters:")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with([' ', '#']))
        .filter_map(|line| line.strip_prefix("  ")?.trim_end().strip_suffix(':'))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .collect()
}

#[cfg(test)]
mod tests {
    const TEMPLATE: &str = include_str!("../../../template.yaml");

    #[test]
    fn the_functions_are_those_of_the_code_uris() {
        assert_eq!(
            super::functions("  A:\n      CodeUri: ../target/lambda/tag-session\n  B:\n      CodeUri: x\n")
                .collect::<Vec<_>>(),
            ["tag-session"]
        );
        assert_eq!(
            super::functions(TEMPLATE).count(),
            TEMPLATE.matches("Type: AWS::Serverless::Function\n").count()
        );
    }

    #[test]
    fn the_parameters_are_those_of_the_section() {
        let parameters = super::parameters(TEMPLATE);
        for name in [
            "TargetIds",
            "TargetTag",
            "FilterId",
            "LocalZoneOnly",
            "LogRetentionDays",
        ] {
            assert!(parameters.contains(&name), "{name} is not among {parameters:?}");
        }
        assert!(
            !parameters
                .iter()
                .any(|name| ["Ledger", "Conditions", "Type", "Default"].contains(name))
        );
    }
}
