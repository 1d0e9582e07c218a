//! Nothing takes the partition or the Region for granted: in GovCloud and in China a task whose resource begins with
//! `arn:aws:` fails each execution with States.Runtime, which no retrier and no catcher takes
//! (<https://github.com/aws/aws-cdk/issues/4597>).
//!
//! What is the same everywhere: the service principal `events.amazonaws.com`, in China too
//! (<https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2932>), and what follows the account number in an
//! ARN.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use yaml_rust2::YamlLoader;

use crate::{DEFINITIONS, TEMPLATE};

/// The partitions and Regions that stand in a text, those not among what is substituted.
fn taken_for_granted(text: &str, substitution: &str) -> Vec<String> {
    let arns = text.match_indices("arn:").filter_map(|(at, _)| {
        let rest = &text[at + "arn:".len()..];
        let is_partition = rest.starts_with("aws");
        let is_other = !substitution.is_empty() && !rest.starts_with(substitution);
        (is_partition || is_other).then(|| text[at..].chars().take(24).collect())
    });
    let regions = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| is_in_a_region(word))
        .map(str::to_owned);
    arns.chain(regions).collect()
}

/// Whether a word is a Region or one of its zones, such as `eu-north-1` or `us-gov-west-1a`.
fn is_in_a_region(word: &str) -> bool {
    let parts: Vec<&str> = word.split('-').collect();
    let [area, .., direction, number] = parts.as_slice() else {
        return false;
    };
    let sides = ["north", "south", "east", "west", "central"];
    area.len() == 2
        && sides.iter().any(|side| direction.starts_with(side))
        && number.starts_with(|c: char| c.is_ascii_digit())
}

/// Rust code without its comments, the examples of its help, and the tests at its end.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = source.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.starts_with("mirrorstep ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn a_definition_has_its_partition_substituted() {
    let template = YamlLoader::load_from_str(TEMPLATE).unwrap();
    let machines: Vec<_> = template[0]["Resources"].as_hash().unwrap().values().collect();
    let machines = machines
        .into_iter()
        .filter(|resource| resource["Type"].as_str() == Some("AWS::Serverless::StateMachine"));
    let mut deployed = Vec::new();
    for machine in machines {
        let properties = &machine["Properties"];
        let file = properties["DefinitionUri"].as_str().unwrap();
        let partition = &properties["DefinitionSubstitutions"]["Partition"];
        assert_eq!(partition.as_str(), Some("AWS::Partition"), "{file}");
        deployed.push(file.replace("../statemachine/", "").replace(".asl.json", ""));
    }
    deployed.sort();
    let mut defined: Vec<_> = DEFINITIONS.iter().map(|(name, _)| *name).collect();
    defined.sort_unstable();
    assert_eq!(deployed, defined);

    for (machine, text) in DEFINITIONS {
        let granted = taken_for_granted(text, "${Partition}:");
        assert!(granted.is_empty(), "{machine}: {granted:?}");
        let definition: Value = serde_json::from_str(text).unwrap();
        for (name, state) in crate::states(&definition) {
            if let Some(resource) = state["Resource"].as_str() {
                assert!(
                    resource.starts_with("arn:${Partition}:states:::"),
                    "{machine}: {name} calls {resource}"
                );
            }
        }
    }
}

#[test]
fn the_template_takes_no_partition_and_no_region_for_granted() {
    let lines = TEMPLATE
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let granted: Vec<_> = lines
        .flat_map(|line| taken_for_granted(line, "${AWS::Partition}:"))
        .collect();
    assert!(granted.is_empty(), "{granted:?}");
}

#[test]
fn the_command_and_the_functions_take_no_partition_and_no_region_for_granted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // The local stack and the fleet that is made up for it are somewhere; Step Functions answers more in some Regions.
    let local = [
        "infra/cli/src/account/step_functions.rs",
        "infra/local/src/clients.rs",
        "infra/local/src/scenario.rs",
    ];
    let mut files = Vec::new();
    sources(&root.join("infra/cli/src"), &mut files);
    sources(&root.join("infra/local/src"), &mut files);
    for stage in fs::read_dir(root.join("functions")).unwrap() {
        sources(&stage.unwrap().path().join("src"), &mut files);
    }
    assert!(files.len() > 60, "only {} files were found", files.len());
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_string_lossy();
        if !local.contains(&name.as_ref()) {
            let granted = taken_for_granted(&code(&fs::read_to_string(&file).unwrap()), "");
            assert!(granted.is_empty(), "{name}: {granted:?}");
        }
    }
}

#[test]
fn what_is_taken_for_granted_is_found() {
    let granted = |text| taken_for_granted(text, "${AWS::Partition}:");
    assert_eq!(
        granted("!Sub arn:aws:ec2:${AWS::Region}:*"),
        ["arn:aws:ec2:${AWS::Regio"]
    );
    assert_eq!(granted("arn:aws-us-gov:sqs:x"), ["arn:aws-us-gov:sqs:x"]);
    assert_eq!(granted("zone us-gov-west-1a"), ["us-gov-west-1a"]);
    assert_eq!(
        granted("!Sub arn:${AWS::Partition}:ec2:${AWS::Region}:*"),
        [""; 0]
    );
    assert_eq!(granted("network-load-balancer in-2-hours"), [""; 0]);
}
