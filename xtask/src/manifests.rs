//! Checks the manifests that run the programs elsewhere, without a cluster or a daemon: the Kubernetes ones against Kubernetes' own
//! schemas, docker-compose.yml against that of the Compose Specification, and whether a fleet's segments and their merge agree.

use crate::{
    python,
    shell::{self, Failed, root},
};

/// The validator with Kubernetes' schemas, pinned; it brings the package that the last check needs.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";
/// The validator with the Compose Specification's schema, pinned.
const COMPOSE_VALIDATOR: &str = "check-jsonschema==0.39.0";
/// The oldest version of Kubernetes in which everything that the manifests use is stable.
const KUBERNETES: &str = "1.33";
const KUBERNETES_MANIFESTS: [&str; 1] = ["ops/k8s/fleet-job.yaml"];
const COMPOSE: &str = "docker-compose.yml";

/// Installs the validators and checks all of them.
pub(crate) fn run() -> Result<(), Failed> {
    let validator = python::installed("manifests", VALIDATOR, "kubernetes-validate")?;
    let arguments = [&["--strict", "--quiet", "--kubernetes-version", KUBERNETES][..], &KUBERNETES_MANIFESTS].concat();
    shell::run(&validator.to_string_lossy(), &arguments)?;
    let validator = python::installed("compose", COMPOSE_VALIDATOR, "check-jsonschema")?;
    shell::run(&validator.to_string_lossy(), &["--builtin-schema", "vendor.compose-spec", COMPOSE])?;
    let python = python::installed("manifests", VALIDATOR, "python")?;
    let script = root().join("xtask/src/manifests/check.py").to_string_lossy().into_owned();
    shell::run(&python.to_string_lossy(), &[&[script.as_str(), COMPOSE][..], &KUBERNETES_MANIFESTS].concat())
}
