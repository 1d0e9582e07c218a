//! `infra/template.yaml`, as the tests read it.

#![allow(dead_code, unreachable_pub)]

use yaml_rust2::{Yaml, YamlLoader};

/// The template. A `!Ref` is read as the name that it refers to, a `!GetAtt` and a `!Sub` as their text.
pub fn template() -> Yaml {
    let text = std::fs::read_to_string(tidy::root().join("infra/template.yaml")).unwrap();
    YamlLoader::load_from_str(&text)
        .expect("the template is YAML")
        .remove(0)
}

/// A text of the template.
pub fn text(yaml: &Yaml) -> &str {
    yaml.as_str().unwrap_or_else(|| panic!("{yaml:?} is no text"))
}

/// The resources of a kind, by name, each with its properties.
pub fn resources<'a>(template: &'a Yaml, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Yaml)> {
    let resources = template["Resources"].as_hash().unwrap().iter();
    resources
        .filter(move |(_, resource)| resource["Type"].as_str() == Some(kind))
        .map(|(name, resource)| (text(name), &resource["Properties"]))
}

/// The functions, by the names of their binaries, in the template's order.
pub fn functions(template: &Yaml) -> Vec<(&str, &Yaml)> {
    resources(template, "AWS::Serverless::Function")
        .map(|(name, properties)| {
            let code = text(&properties["CodeUri"]);
            let binary = code.strip_prefix("../target/lambda/");
            let binary =
                binary.unwrap_or_else(|| panic!("{name} is not built by `cargo lambda build`: {code}"));
            (binary, properties)
        })
        .collect()
}

/// A list of the template, which may be written as its only member alone.
pub fn list(yaml: &Yaml) -> Vec<&Yaml> {
    match yaml {
        Yaml::Array(members) => members.iter().collect(),
        Yaml::BadValue => Vec::new(),
        one => vec![one],
    }
}
