"""The Terraform module: Terraform itself checks it and runs its tests, with a stand-in for AWS (see standin.py)."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cli.app import ontime
from infra.terraform import cost
from infra.tests import aws_schema
from infra.tests.tools import INFRA, ROOT, tool
from ontime.settings import PREFIX, SECRETS, Settings, load_settings

MODULE = INFRA / "terraform"
FILES = sorted(MODULE.glob("*.tf"))
SKIP = re.compile(r"# checkov:skip=(\w+):(.*)")


def terraform(module: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [tool("python"), str(INFRA / "tests" / "standin.py"), f"-chdir={module}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def copied(folder: Path) -> Path:
    """A copy of the module without the files of `terraform init` and your variables; the stand-in needs no init."""
    return shutil.copytree(
        MODULE, folder / "module", ignore=shutil.ignore_patterns(".terraform*", "backend.hcl", "terraform.tfvars")
    )


def plant(module: Path, name: str, healthy: str, faulty: str) -> None:
    text = (module / name).read_text()
    assert healthy in text, f"{name} has no {healthy!r}: the fault has to be planted elsewhere"
    (module / name).write_text(text.replace(healthy, faulty))


def checkov(module: Path) -> dict[str, list[dict[str, str]]]:
    words = ["--directory", str(module), "--framework", "terraform", "--skip-path", "tests", "--skip-download"]
    completed = subprocess.run(
        [tool("checkov"), *words, "--output", "json"], capture_output=True, text=True, check=False
    )
    results: dict[str, list[dict[str, str]]] = json.loads(completed.stdout)["results"]
    return results


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("terraform"))


def test_the_module_is_valid(module: Path) -> None:
    completed = terraform(module, "validate", "-no-color")

    assert completed.returncode == 0, completed.stderr


def test_every_file_is_formatted(module: Path) -> None:
    completed = terraform(module, "fmt", "-check", "-diff", "-recursive")

    assert (completed.returncode, completed.stdout) == (0, "")


def test_all_tests_of_the_module_pass(module: Path) -> None:
    written = sum(path.read_text().count('\nrun "') for path in module.glob("tests/*.tftest.hcl"))

    completed = terraform(module, "test", "-no-color")

    assert f"Success! {written} passed, 0 failed." in completed.stdout, completed.stdout + completed.stderr


@pytest.mark.parametrize(
    ("name", "healthy", "faulty", "message"),
    [
        ("database.tf", "publicly_accessible ", "publicly_accesible ", 'named "publicly_accesible" is not expected'),
        ("database.tf", "= var.backup_days", '= "two weeks"', "a number is required"),
        ("database.tf", "aws_kms_key.data", "aws_kms_key.date", 'resource "aws_kms_key" "date" has not been declared'),
        ("network.tf", "  ip_protocol                  = ", "  # ", 'argument "ip_protocol" is required'),
        ("registry.tf", '"aws_ecr_repository"', '"aws_ecr_registry"', 'not support resource type "aws_ecr_registry"'),
        ("service.tf", "deployment_circuit_breaker {", "circuit_breaker {", 'Blocks of type "circuit_breaker" are not'),
        ("service.tf", "var.service.memory", "var.service.ram", 'not have an attribute named "ram"'),
    ],
    ids=["misspelt", "wrong type", "undeclared", "missing", "unknown type", "unknown block", "not in our variable"],
)
def test_a_violation_of_the_providers_schema_is_rejected(
    tmp_path: Path, name: str, healthy: str, faulty: str, message: str
) -> None:
    module = copied(tmp_path)
    plant(module, name, healthy, faulty)

    completed = terraform(module, "validate", "-json")

    diagnostics = " ".join(
        f"{each['summary']} {each['detail']}" for each in json.loads(completed.stdout)["diagnostics"]
    )
    assert message in re.sub(r"\s+", " ", diagnostics)


@pytest.mark.parametrize(
    ("name", "healthy", "faulty", "tests", "message"),
    [
        ("storage.tf", "block_public_policy     = true", "block_public_policy = false", "module", "made public"),
        ("registry.tf", '"IMMUTABLE"', '"MUTABLE"', "module", "A tag can be moved"),
        ("roles.tf", 'read_objects  = ["', 'read_objects = ["s3:PutObject", "', "roles", "The service may do"),
        ("roles.tf", 'write_objects = ["', 'write_objects = ["s3:*", "', "roles", "A role may do anything"),
        ("roles.tf", ":environment:production", ":pull_request", "roles", "Somebody else may push"),
        ("roles.tf", "files[each.key].arn", 'files["worker"].arn', "roles", "started with the other's secret"),
        ("service.tf", "essential              = true", 'essential = true\nuser = "0"', "containers", "may be root"),
        ("service.tf", 'releases", readOnly = true', 'releases", readOnly = false', "containers", "write elsewhere"),
        ("variables.tf", '"^sha256:[0-9a-f]{64}$", digest', '"", digest', "variables", "a_tag_is_no_digest"),
    ],
    ids=["public", "moving tag", "writes", "wildcard", "anybody pushes", "other's secret", "root", "open", "tag"],
)
def test_a_permission_that_is_too_wide_is_rejected(
    tmp_path: Path, name: str, healthy: str, faulty: str, tests: str, message: str
) -> None:
    module = copied(tmp_path)
    plant(module, name, healthy, faulty)

    completed = terraform(module, "test", "-no-color", f"-filter=tests/{tests}.tftest.hcl")

    assert completed.returncode != 0
    assert message in re.sub(r"\s+", " ", completed.stdout + completed.stderr)


def test_checkov_finds_nothing_and_every_skip_is_needed_and_has_a_reason() -> None:
    written = [skip for path in FILES for skip in SKIP.findall(path.read_text())]

    results = checkov(MODULE)

    assert [(each["check_id"], each["resource"]) for each in results["failed_checks"]] == []
    assert results["parsing_errors"] == []
    assert {each["check_id"] for each in results["skipped_checks"]} == {check for check, _ in written}
    assert all(len(reason.split()) >= 6 for _, reason in written)


def test_checkov_rejects_public_access(tmp_path: Path) -> None:
    for name in ("storage.tf", "database.tf", "service.tf"):
        shutil.copy(MODULE / name, tmp_path)
    plant(tmp_path, "storage.tf", "block_public_acls       = true", "block_public_acls = false")
    plant(tmp_path, "database.tf", "storage_encrypted     = true", "storage_encrypted = false")
    plant(tmp_path, "service.tf", '= "ELBSecurityPolicy-TLS13-1-2-2021-06"', '= "ELBSecurityPolicy-2016-08"')

    failed = {(each["check_id"], each["resource"].partition(".")[0]) for each in checkov(tmp_path)["failed_checks"]}

    assert failed >= {
        ("CKV_AWS_53", "aws_s3_bucket_public_access_block"),
        ("CKV_AWS_16", "aws_db_instance"),
        ("CKV_AWS_103", "aws_lb_listener"),
    }


def test_the_stand_in_has_exactly_the_types_that_the_module_uses() -> None:
    schema = json.loads(aws_schema.SCHEMA.read_text())["provider_schemas"][aws_schema.PROVIDER]

    assert set(schema["resource_schemas"]) == aws_schema.used(MODULE)


def test_the_schema_matches_the_providers_documentation() -> None:
    schema = json.loads(aws_schema.SCHEMA.read_text())["provider_schemas"][aws_schema.PROVIDER]["resource_schemas"]
    database = schema["aws_db_instance"]["block"]["attributes"]
    service = schema["aws_ecs_service"]["block"]["block_types"]
    target = schema["aws_scheduler_schedule"]["block"]["block_types"]["target"]
    parameters = target["block"]["block_types"]["ecs_parameters"]

    assert database["instance_class"] == {"type": "string", "required": True}
    assert database["arn"] == {"type": "string", "computed": True}
    assert database["vpc_security_group_ids"] == {"type": ["set", "string"], "optional": True, "computed": True}
    assert service["load_balancer"]["nesting_mode"] == "set"
    assert service["network_configuration"]["nesting_mode"] == "list"
    assert service["network_configuration"]["max_items"] == 1
    assert target["min_items"] == 1
    assert parameters["block"]["attributes"]["task_definition_arn"] == {"type": "string", "required": True}


def test_the_parsed_binding_is_the_committed_schema() -> None:
    written = """
function thingPartToHclTerraform(struct) {
    const attrs = {
        size: {
            value: cdktn.numberToHclTerraform(struct.size),
            isBlock: false,
            type: "simple",
            storageClassType: "number",
        },
    };
}
class ThingPartOutputReference extends cdktn.ComplexObject {
    // size - computed: false, optional: false, required: true
    _size;
    get size() {
        return this.getNumberAttribute('size');
    }
}
class Thing extends cdktn.TerraformResource {
    // arn - computed: true, optional: false, required: false
    get arn() {
        return this.getStringAttribute('arn');
    }
    // part - computed: false, optional: false, required: true
    _part = new ThingPartOutputReference(this, "part");
    get part() {
        return this._part;
    }
    synthesizeHclAttributes() {
        const attrs = {
            names: {
                value: cdktn.listMapperHcl(cdktn.stringToHclTerraform, false)(this._names),
                isBlock: false,
                type: "set",
                storageClassType: "stringList",
            },
            part: {
                value: thingPartToHclTerraform(this._part.internalValue),
                isBlock: true,
                type: "list",
                storageClassType: "ThingPartList",
            },
        };
    }
}
"""

    assert aws_schema.Binding(written).block("Thing") == {
        "attributes": {
            "arn": {"type": "string", "computed": True},
            "names": {"type": ["set", "string"], "optional": True},
        },
        "block_types": {
            "part": {
                "nesting_mode": "list",
                "block": {"attributes": {"size": {"type": "number", "required": True}}},
                "min_items": 1,
                "max_items": 1,
            }
        },
    }


def test_the_settings_of_the_tasks_exist() -> None:
    settings = {PREFIX + name.upper() for name in Settings.model_fields} | {SECRETS}
    text = "\n".join(path.read_text() for path in (*FILES, MODULE / "README.md"))
    upper = set(re.findall(r"ONTIME_[A-Z_]+", text)) | {name.upper() for name in re.findall(r"ontime_[a-z]+_url", text)}

    assert {"ONTIME_SECRETS", "ONTIME_DATABASE_URL", "ONTIME_TRACKING_URL"} <= upper
    assert upper <= settings


def test_the_jobs_run_existing_pipelines() -> None:
    worker = (MODULE / "worker.tf").read_text()

    modules = set(re.findall(r"python -m pipelines\.operations\.(\w+)", worker))
    commands = set(re.findall(r'"ontime ([a-z-]+)"', worker))

    assert modules == {"mirror"}
    assert commands == {"materialise", "monitor", "prune", "backup", "retrain"}
    assert commands <= set(ontime.commands)
    assert re.search(r"^  ingest:", (ROOT / "dvc.yaml").read_text(), re.MULTILINE)


def jobs_of_the_module() -> dict[str, dict[str, str]]:
    """When each job runs, and its deadline."""
    text = (MODULE / "worker.tf").read_text()
    jobs = re.findall(r'^    (\w+) = \{\n      when    = "(.*?)".*\n      seconds = (\d+)', text, re.MULTILINE)
    return {name: {"when": when, "seconds": seconds} for name, when, seconds in jobs}


def test_the_jobs_run_when_and_as_long_as_those_of_kubernetes() -> None:
    """A cron expression of AWS has a year, and `?` for the day that the other field names."""
    documents = yaml.safe_load_all((INFRA / "kubernetes/base/worker.yaml").read_text())
    cronjobs = {
        each["metadata"]["name"].removeprefix("ontime-"): each for each in documents if each["kind"] == "CronJob"
    }
    jobs = jobs_of_the_module()

    for name, job in jobs.items():
        spec = cronjobs[name]["spec"]
        assert int(job["seconds"]) == spec["jobTemplate"]["spec"]["activeDeadlineSeconds"], name
        minute, hour, _, _, weekday = spec["schedule"].split()
        day = f"? * {weekday}".replace("1", "MON") if weekday != "*" else "* * ?"
        expected = "rate(15 minutes)" if minute == "*/15" else f"cron({minute} {hour} {day} *)"
        assert job["when"] == expected, name
    assert set(jobs) == {name for name, each in cronjobs.items() if not each["spec"].get("suspend")}


def job_command(folder: Path, seconds: str, script: str) -> "subprocess.Popen[str]":
    """The words of `commands` in worker.tf, with another deadline and script."""
    text = (MODULE / "worker.tf").read_text()
    block = re.search(r"commands = \{ for name, job in local\.jobs : name => \[(.*?)\] \}", text, re.DOTALL)
    assert block
    values = {"tostring(job.seconds)": seconds, " name,": "monitor", 'join("\\n", job.script)': script}
    listed = block[1].replace("${name}", "monitor").strip().removesuffix(",")
    for expression, value in values.items():
        listed = listed.replace(expression, json.dumps(value) + ("," if expression.endswith(",") else ""))
    words: list[str] = json.loads(f"[{listed}]")
    words[words.index("python")] = sys.executable
    words[words.index("--kill-after=30")] = "--kill-after=1"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_job_that_hangs_ends_and_a_second_one_never_runs_beside_it(tmp_path: Path) -> None:
    """Also its child processes end, of which the shell has one that ignores SIGTERM."""
    first = job_command(tmp_path, "3", "echo begun; trap '' TERM; sleep 60; sleep 60")
    assert first.stdout is not None
    assert first.stdout.readline() == "begun\n"

    second = job_command(tmp_path, "3", "echo begun")
    output, _ = second.communicate(timeout=30)

    assert (second.returncode, "holds var/monitor.lock" in output, "begun" in output) == (1, True, False), output
    assert first.wait(timeout=30) in (137, -9)  # killed, one second after SIGTERM
    third = job_command(tmp_path, "3", "echo begun")
    assert third.communicate(timeout=30)[0] == "begun\n"  # the lock is free


def test_the_data_can_be_removed_as_the_guide_says(tmp_path: Path) -> None:
    """Terraform takes no variable in `prevent_destroy`, so the guide deletes these lines in a copy of the module."""
    module = copied(tmp_path)
    (command,) = re.findall(r"^(sed -i .*prevent_destroy.*)$", (MODULE / "README.md").read_text(), re.MULTILINE)
    protected = {"aws_db_instance", "aws_efs_file_system", "aws_kms_key", "aws_s3_bucket"}
    text = "\n".join(path.read_text() for path in FILES)
    blocks = re.findall(r'^resource "(\w+)" "\w+" \{(.*?)^\}', text, re.MULTILINE | re.DOTALL)
    assert {name for name, body in blocks if "prevent_destroy = true" in body} == protected

    subprocess.run(["bash", "-ec", command], cwd=module, check=True)

    assert not any("prevent_destroy = true" in path.read_text() for path in module.glob("*.tf"))
    assert terraform(module, "validate", "-no-color").returncode == 0


def test_the_images_user_port_and_folders_are_those_of_the_dockerfile() -> None:
    image = (ROOT / "Dockerfile").read_text()
    tasks = "\n".join((MODULE / name).read_text() for name in ("service.tf", "storage.tf", "unpack.py"))

    assert "USER 10001:10001" in image
    assert "EXPOSE 8000" in image
    assert "WORKDIR /app" in image
    assert tasks.count("10001") == 5
    assert "containerPort = 8000" in tasks


def test_secrets_become_files_that_only_their_owner_can_read(tmp_path: Path) -> None:
    files, shared = tmp_path / "secrets", tmp_path / "shared"
    files.mkdir()
    shared.mkdir()
    environment = {"FILES": json.dumps({"ontime_database_url": "sqlite://"}), "OWNER": str(os.getuid())}

    subprocess.run([sys.executable, MODULE / "unpack.py", files, shared], env=environment, check=True)

    written = files / "ontime_database_url"
    assert (written.read_text(), written.stat().st_mode & 0o777) == ("sqlite://", 0o600)


def test_the_workers_secret_in_the_guide_has_the_address_that_the_monitor_posts_alerts_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = re.search(r"""'(\{[^']*\})' > worker\.json""", (MODULE / "README.md").read_text())
    assert block
    samples = {
        "ontime_database_url": "postgresql+psycopg://ontime:x@db/ontime",
        "ontime_tracking_url": "postgresql+psycopg://mlflow:x@db/mlflow",
        "ontime_webhook": "https://hooks.example.com/ontime",
    }
    content = {name: samples.get(name, "content") for name in re.findall(r'"([\w.-]+)": \$', block[1])}
    environment = {"FILES": json.dumps(content), "OWNER": str(os.getuid())}
    subprocess.run([sys.executable, MODULE / "unpack.py", tmp_path], env=environment, check=True)
    monkeypatch.setenv("ONTIME_SECRETS", str(tmp_path))

    settings = load_settings()

    assert str(settings.webhook) == "https://hooks.example.com/ontime"


def test_a_secret_whose_name_has_a_path_is_refused(tmp_path: Path) -> None:
    environment = {"FILES": json.dumps({"../elsewhere": "x"}), "OWNER": str(os.getuid())}

    completed = subprocess.run(
        [sys.executable, MODULE / "unpack.py", tmp_path], env=environment, capture_output=True, text=True, check=False
    )

    assert "../elsewhere is not a file name" in completed.stderr
    assert not (tmp_path.parent / "elsewhere").exists()


def test_the_guides_command_converts_the_images_of_a_release(tmp_path: Path) -> None:
    (command,) = re.findall(r"^(jq -Rn .*) > images", (MODULE / "README.md").read_text(), re.MULTILINE)
    digests = {name: f"sha256:{name[0].encode().hex() * 32}" for name in ("serve", "mirror", "worker")}
    lines = [f"ghcr.io/owner/ontime-{name}@{digest}\n" for name, digest in digests.items()]
    (tmp_path / "images.txt").write_text("".join(lines))

    converted = subprocess.run(["bash", "-ec", command], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert json.loads(converted.stdout) == {"image_digests": digests}


def test_the_costs_in_the_readme_are_those_that_the_command_computes() -> None:
    sheet, readme = cost.load_prices(), (MODULE / "README.md").read_text()

    assert all(cost.table(sheet, bill) in readme for bill in sheet.bills)


def test_the_page_about_sizing_has_their_sums_and_prices() -> None:
    sheet, page = cost.load_prices(), (ROOT / "docs/sizing.md").read_text()
    everything, machine = (sum(map(sheet.dollars, lines)) for lines in sheet.bills.values())

    assert f"{everything:.0f} dollars for two tasks" in page
    assert f"{machine:.0f} dollars for one small machine" in page
    assert f"vCPU hours | {sheet.prices['fargate_cpu'].usd} |" in page
    assert f"GB | {sheet.prices['postgres_disk'].usd} |" in page


def test_every_price_is_used_and_the_sizes_are_those_of_the_variables() -> None:
    sheet, variables = cost.load_prices(), (MODULE / "variables.tf").read_text()
    lines = {line.what: line for bill in sheet.bills.values() for line in bill}
    defaults = {name: float(value) for name, value in re.findall(r"(\w+) += optional\(number, (\d+)\)", variables)}
    watching = (MODULE / "watching.tf").read_text()
    alarms = len(re.findall(r"^      about ", watching, re.MULTILINE)) + len(
        re.findall("^  alarm_name .*faults", watching, re.M)
    )

    assert {line.price for line in lines.values()} == set(sheet.prices)
    assert lines["Service: 2 tasks of 0.5 vCPU"].times == (defaults["tasks"], defaults["cpu"] / 1024, 730)
    assert lines["Service: 2 tasks of 1 GB"].times == (defaults["tasks"], defaults["memory"] / 1024, 730)
    assert alarms == 9
    assert lines["9 alarms with 11 metrics, 2 of the autoscaler"].times == (alarms + 2 + 2,)  # one is of three metrics
    assert '"db.t4g.micro"' in variables
    assert re.search(r'"database_gb" \{[^}]*default += 20\n', variables)
