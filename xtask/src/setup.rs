//! Sees to it that wgpu finds an adapter, without building wgpu to ask: a system that brings no GPU
//! interface of its own needs Vulkan's loader and a driver for it.

use crate::{prints, variable, vulkan};
use std::env::consts;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// Mesa's software Vulkan driver with its loader, as Debian packages them.
const APT_VULKAN: &str = "libvulkan1 mesa-vulkan-drivers";

/// Mesa's software OpenGL: not needed, but a second implementation to be right on.
const APT_GL: &str = "libegl1 libgl1-mesa-dri";

/// Installs a software driver where there is none and that may be done; otherwise says in one line
/// what to do. Never fails: the program has the last word on what it finds.
pub fn ensure_adapter() {
    act(&Machine::look());
}

/// The same after the program found no adapter, whatever manifests of drivers lie about: that of a GPU
/// which is not there, for one. Says whether something was installed.
pub fn adapter_was_not_found() -> bool {
    act(&Machine { driver: false, rights: rights(true), ..Machine::look() })
}

fn act(machine: &Machine) -> bool {
    match decide(machine) {
        Action::Nothing => false,
        Action::Advise(advice) => {
            eprintln!("xtask: {advice}");
            false
        }
        Action::Install { why, packages, rights } => {
            eprintln!("xtask: {why}; installing Mesa's software driver: {packages}");
            let done = install(&packages, rights);
            if let Err(line) = &done {
                eprintln!("xtask: that did not work; see the messages above, then repeat: {line}");
            }
            done.is_ok()
        }
    }
}

/// What the decision goes by.
#[derive(Clone, Copy, Debug)]
struct Machine {
    /// As `std::env::consts::OS` has it.
    os: &'static str,
    distribution: Distribution,
    /// How apt-get may install; nothing where there is no apt-get.
    rights: Option<Rights>,
    /// Runs for continuous integration.
    ci: bool,
    loader: bool,
    driver: bool,
    /// The packages of `APT_GL` are installed.
    gl: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Distribution {
    Debian,
    Fedora,
    Arch,
    Alpine,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rights {
    Root,
    /// A sudo that asks for no password.
    Sudo,
}

#[derive(Debug, PartialEq)]
enum Action {
    Nothing,
    Install { why: &'static str, packages: String, rights: Rights },
    Advise(String),
}

fn decide(machine: &Machine) -> Action {
    // Metal and DirectX 12 come with the system.
    if matches!(machine.os, "macos" | "windows") {
        return Action::Nothing;
    }
    let why = match (machine.loader, machine.driver) {
        (true, true) => return decide_gl(machine),
        (true, false) => "there is no Vulkan driver that works",
        (false, true) => "there is no Vulkan loader",
        (false, false) => "there is neither a Vulkan loader nor a driver",
    };
    match (machine.distribution, machine.rights) {
        (Distribution::Debian, Some(rights)) => {
            Action::Install { why, packages: format!("{APT_VULKAN} {APT_GL}"), rights }
        }
        (distribution, _) => Action::Advise(format!("{why}; {}", remedy(distribution))),
    }
}

/// Only a machine for tests, and only as root, is given what it can do without.
fn decide_gl(machine: &Machine) -> Action {
    match (machine.distribution, machine.rights) {
        (Distribution::Debian, Some(Rights::Root)) if machine.ci && !machine.gl => Action::Install {
            why: "there is no OpenGL driver to test on",
            packages: APT_GL.into(),
            rights: Rights::Root,
        },
        _ => Action::Nothing,
    }
}

fn remedy(distribution: Distribution) -> String {
    let command = match distribution {
        Distribution::Debian => format!("apt-get install {APT_VULKAN}"),
        Distribution::Fedora => "dnf install vulkan-loader mesa-vulkan-drivers".into(),
        Distribution::Arch => "pacman -S vulkan-icd-loader vulkan-swrast".into(),
        Distribution::Alpine => "apk add vulkan-loader mesa-vulkan-swrast".into(),
        Distribution::Other => return "install a Vulkan driver and loader for your system".into(),
    };
    format!("install Mesa's as root with: {command}")
}

/// Runs apt-get; where it fails, returns the line that repeats it.
fn install(packages: &str, rights: Rights) -> Result<(), String> {
    let sudo = match rights {
        Rights::Root => "",
        Rights::Sudo => "sudo -n ",
    };
    let apt = |arguments: &str| {
        // Through `env`, because sudo drops the variables of its caller.
        let line = format!("{sudo}env DEBIAN_FRONTEND=noninteractive apt-get {arguments}");
        eprintln!("+ {line}");
        let mut words = line.split_whitespace();
        let done = Command::new(words.next().unwrap_or_default())
            .args(words)
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .status()
            .is_ok_and(|status| status.success());
        if done { Ok(()) } else { Err(line) }
    };
    // One stale source makes `update` fail and need not keep `install` from succeeding.
    let _ = apt("update");
    apt(&format!("install -y --no-install-recommends {packages}"))
}

impl Machine {
    fn look() -> Self {
        let loader = vulkan::has_loader(variable);
        let driver = vulkan::has_driver(variable);
        Self {
            os: consts::OS,
            distribution: ["/etc/os-release", "/usr/lib/os-release"]
                .iter()
                .find_map(|path| fs::read_to_string(path).ok())
                .map_or(Distribution::Other, |text| distribution(&text)),
            // Nobody is asked for rights that are not needed: a refused sudo gets reported.
            rights: rights(!(loader && driver)),
            ci: variable("CI").is_some(),
            loader,
            driver,
            gl: prints("dpkg", &format!("--status {APT_GL}")).is_some(),
        }
    }
}

/// Reads the text of an os-release file.
fn distribution(os_release: &str) -> Distribution {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_default().trim_matches(['"', '\''])
    };
    let ids = value("ID=").split(' ').chain(value("ID_LIKE=").split(' '));
    ids.map(|id| match id {
        "debian" | "ubuntu" => Distribution::Debian,
        "fedora" => Distribution::Fedora,
        "arch" => Distribution::Arch,
        "alpine" => Distribution::Alpine,
        _ => Distribution::Other,
    })
    .find(|&known| known != Distribution::Other)
    .unwrap_or(Distribution::Other)
}

fn rights(may_try_sudo: bool) -> Option<Rights> {
    prints("apt-get", "--version")?;
    if prints("id", "-u")?.trim() == "0" {
        return Some(Rights::Root);
    }
    (may_try_sudo && prints("sudo", "-n true").is_some()).then_some(Rights::Sudo)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian, nothing installed, nothing permitted.
    const BARE: Machine = Machine {
        os: "linux",
        distribution: Distribution::Debian,
        rights: None,
        ci: false,
        loader: false,
        driver: false,
        gl: false,
    };

    const READY: Machine = Machine { loader: true, driver: true, ..BARE };

    fn installs(machine: Machine) -> Option<Rights> {
        match decide(&machine) {
            Action::Install { rights, .. } => Some(rights),
            _ => None,
        }
    }

    fn advice(machine: Machine) -> String {
        match decide(&machine) {
            Action::Advise(advice) => advice,
            other => panic!("{machine:?}: {other:?}"),
        }
    }

    #[test]
    fn a_system_with_its_own_interface_needs_nothing() {
        for os in ["macos", "windows"] {
            let rights = Some(Rights::Root);
            let machine = Machine { os, rights, ci: true, ..BARE };
            assert_eq!(decide(&machine), Action::Nothing);
        }
    }

    #[test]
    fn a_driver_with_its_loader_is_enough() {
        for rights in [None, Some(Rights::Sudo), Some(Rights::Root)] {
            assert_eq!(decide(&Machine { rights, ..READY }), Action::Nothing);
        }
    }

    #[test]
    fn debian_installs_what_is_missing_with_the_rights_there_are() {
        for (loader, driver) in [(false, false), (true, false), (false, true)] {
            for rights in [Rights::Root, Rights::Sudo] {
                let rights = Some(rights);
                let machine = Machine { loader, driver, rights, ..BARE };
                assert_eq!(installs(machine), rights);
                let elsewhere = Machine { distribution: Distribution::Other, ..machine };
                assert_eq!(installs(elsewhere), None);
            }
        }
    }

    #[test]
    fn opengl_is_installed_only_for_ci_as_root_where_it_is_missing() {
        let rights = Some(Rights::Root);
        let machine = Machine { ci: true, rights, ..READY };
        match decide(&machine) {
            Action::Install { packages, .. } => assert_eq!(packages, APT_GL),
            other => panic!("{other:?}"),
        }
        let changes: [fn(&mut Machine); 5] = [
            |machine| machine.ci = false,
            |machine| machine.gl = true,
            |machine| machine.rights = None,
            |machine| machine.rights = Some(Rights::Sudo),
            |machine| machine.distribution = Distribution::Fedora,
        ];
        for change in changes {
            let mut other = machine;
            change(&mut other);
            assert_eq!(decide(&other), Action::Nothing, "{other:?}");
        }
    }

    #[test]
    fn advice_is_one_line_and_names_the_packages() {
        use Distribution::{Alpine, Arch, Debian, Fedora, Other};
        for (distribution, named) in [
            (Debian, "libvulkan1 mesa-vulkan-drivers"),
            (Fedora, "vulkan-loader mesa-vulkan-drivers"),
            (Arch, "vulkan-icd-loader vulkan-swrast"),
            (Alpine, "vulkan-loader mesa-vulkan-swrast"),
            (Other, "a Vulkan driver and loader"),
        ] {
            let advice = advice(Machine { distribution, ..BARE });
            assert!(advice.contains(named), "{advice}");
            assert_eq!(advice.lines().count(), 1);
        }
        assert!(advice(Machine { loader: true, ..BARE }).contains("no Vulkan driver"));
        assert!(advice(Machine { driver: true, ..BARE }).contains("no Vulkan loader"));
    }

    #[test]
    fn a_distribution_is_known_by_its_own_name_or_its_kin() {
        for (text, expected) in [
            ("NAME=\"Debian GNU/Linux\"\nID=debian\n", Distribution::Debian),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Distribution::Debian),
            ("ID=\"rhel\"\nID_LIKE=\"fedora\"\n", Distribution::Fedora),
            ("ID=manjaro\nID_LIKE=arch\n", Distribution::Arch),
            ("VERSION_ID=3.20\nID=alpine\n", Distribution::Alpine),
            ("VERSION_ID=debian\nID=nixos\n", Distribution::Other),
            ("", Distribution::Other),
        ] {
            assert_eq!(distribution(text), expected, "{text}");
        }
    }
}
