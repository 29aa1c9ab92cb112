"""The checks, each with faults that it must find in manifests that are otherwise valid."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

from infra.tests.kubernetes import capacity, jobs, network, parts, pods, prometheus, storage
from infra.tests.kubernetes.manifests import Cluster, find

GONE: Any = object()
SERVICE, CANARY, PUBLISHER = "Deployment/ontime", "Deployment/ontime-canary", "Deployment/ontime-publisher"
POD, CONTAINER = "spec/template/spec", "spec/template/spec/containers/0"
DASK, DASK_WORKER, SCORE = "Deployment/ontime-dask-scheduler", "Deployment/ontime-dask-worker", "CronJob/ontime-score"
ON_DASK, ON_SPARK, NODE_DASK = "production-dask", "production-spark", "small-dask"
ON_CLOUD = "production-cloud"
ON_STREAM, STREAM, BROKER, FEED = (
    "production-stream",
    "Deployment/ontime-stream",
    "StatefulSet/ontime-broker",
    "Deployment/ontime-feed",
)
JOB = "spec/jobTemplate/spec"
NAMESPACES = "spec/ingress/0/from/0/namespaceSelector"
JOBS_CONTAINER = f"{JOB}/template/spec/containers/0"
PASSWORD = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "ontime-database", "key": "owner"}}}
DATABASE = {"name": "database", "mountPath": "/run/ontime", "readOnly": True}
SECRET = {
    "kind": "Secret", "metadata": {"name": "ontime-database", "namespace": "ontime"}, "data": {"owner": "c2VjcmV0"},
}  # fmt: skip
TWICE = {"kind": "ServiceAccount", "metadata": {"name": "ontime-worker", "namespace": "ontime"}}

Check = Callable[[Cluster], list[str]]


class Fault(NamedTuple):
    name: str
    where: str  # the manifest, such as Deployment/ontime; empty for an added manifest
    path: str
    value: Any
    overlay: str = "production"


def planted(cluster: Cluster, fault: Fault) -> Cluster:
    """A copy with the fault. Raises if the place does not exist, so that no fault becomes stale."""
    copy = deepcopy(cluster)
    if not fault.where:
        return [*copy, fault.value]
    inner: Any = find(copy, fault.where)
    *way, last = fault.path.split("/")
    for step in way:
        inner = inner[_place(inner, step)]
    if fault.value is GONE:
        del inner[_place(inner, last)]
    elif last == "-":
        inner.append(fault.value)
    else:
        inner[_place(inner, last)] = fault.value
    return copy


def _place(inner: Any, step: str) -> int | str:
    """The index in a list, by position or name; or the key of a dict, with ~ for a slash."""
    if not isinstance(inner, list):
        return step.replace("~", "/")
    return int(step) if step.isdigit() else [each.get("name") for each in inner].index(step)


FAULTS: dict[Check, tuple[Fault, ...]] = {
    pods.every_setting_is_one_and_loads: (
        Fault("a setting is misspelt", "ConfigMap/ontime-service", "data/ONTIME_APIKEYS", "/run/keys/api-keys.json"),
        Fault("a value is none", "ConfigMap/ontime-service", "data/ONTIME_PORT", "http"),
        Fault("open to all and no keys", "ConfigMap/ontime-service", "data/ONTIME_API_KEYS", GONE),
        Fault("Kubernetes' own variables", SERVICE, f"{POD}/enableServiceLinks", GONE),
        Fault("a secret by another name", SERVICE, f"{POD}/volumes/database/secret/items/0/path", "ontime_database"),
        Fault("a secret that is not mounted",
              "CronJob/ontime-monitor", f"{JOBS_CONTAINER}/volumeMounts/database", GONE),
        Fault("nobody says which database", "ConfigMap/ontime-worker", "data/ONTIME_DATABASE_URL", GONE, "small"),
        Fault("a job without its engine's packages", SCORE, f"{JOBS_CONTAINER}/image", "ontime-worker:0.1.0", ON_DASK),
        Fault("an engine that is none", "ConfigMap/ontime-engine", "data/ONTIME_ENGINE", "ray", ON_DASK),
        Fault("workers that share nothing", "ConfigMap/ontime-engine", "data/ONTIME_SHARED_STORAGE", GONE, ON_DASK),
        Fault("a job that executors cannot find",
              SCORE, f"{JOBS_CONTAINER}/env/SPARK_LOCAL_HOSTNAME", GONE, ON_SPARK),
        Fault("a stream with a broker of its own",
              STREAM, f"{POD}/volumes/secrets/projected/sources/1/secret/items/0/path", "ontime_api_keys", ON_STREAM),
        Fault("a stream with a database of its own",
              "ConfigMap/ontime-stream", "data/ONTIME_SECRETS", GONE, ON_STREAM),
        Fault("nobody says which bucket", "ConfigMap/ontime-mirror", "data/ONTIME_RELEASES_STORE", GONE),
    ),
    pods.probes_ask_open_routes_of_the_service: (
        Fault("a probe of a route that is not",
              SERVICE, f"{CONTAINER}/readinessProbe/httpGet/path", "/health/readiness"),
        Fault("a probe that needs a key", SERVICE, f"{CONTAINER}/readinessProbe/httpGet/path", "/metrics"),
        Fault("restarted while the disk is full",
              SERVICE, f"{CONTAINER}/livenessProbe/httpGet/path", "/health/ready"),
        Fault("no readiness", CANARY, f"{CONTAINER}/readinessProbe", GONE, "canary"),
    ),
    pods.a_mirror_that_hangs_is_restarted: (
        Fault("a mirror that hangs for ever", SERVICE, f"{POD}/initContainers/mirror/livenessProbe", GONE),
        Fault("a mirror that is restarted while the bucket is away",
              SERVICE, f"{POD}/initContainers/mirror/livenessProbe/exec/command/3", "copy"),
        Fault("a publisher that seems ready while it pushes nothing",
              PUBLISHER, f"{POD}/containers/publisher/readinessProbe", GONE),
    ),
    pods.a_pod_that_stops_has_time_to_answer: (
        Fault("killed before it has answered", SERVICE, f"{POD}/terminationGracePeriodSeconds", 20),
        Fault("slower to stop than the pod waits", "ConfigMap/ontime-service", "data/ONTIME_STOP_SECONDS", "60"),
        Fault("a pause by a shell", SERVICE, f"{CONTAINER}/lifecycle/preStop", {"exec": {"command": ["sleep", "5"]}}),
    ),
    pods.a_process_that_hangs_is_replaced_in_time: (
        Fault("half a minute of patience", SERVICE, f"{CONTAINER}/livenessProbe/periodSeconds", 10),
        Fault("the pod's grace for a process that hangs",
              CANARY, f"{CONTAINER}/livenessProbe/terminationGracePeriodSeconds", GONE, "canary"),
        Fault("a longer pause and the time for it",
              SERVICE, f"{CONTAINER}/livenessProbe/terminationGracePeriodSeconds", 5),
    ),
    pods.nobody_is_root_or_becomes_it: (
        Fault("root", SERVICE, f"{POD}/securityContext/runAsUser", 0),
        Fault("perhaps root", PUBLISHER, f"{POD}/securityContext/runAsNonRoot", GONE),
        Fault("any system call",
              "CronJob/ontime-retrain", f"{JOB}/template/spec/securityContext/seccompProfile", GONE),
        Fault("a token of the cluster", SERVICE, f"{POD}/automountServiceAccountToken", True),
        Fault("the node's network", SERVICE, f"{POD}/hostNetwork", True),
        Fault("a root that can be written",
              SERVICE, f"{POD}/initContainers/mirror/securityContext/readOnlyRootFilesystem", False),
        Fault("a capability", SERVICE, f"{CONTAINER}/securityContext/capabilities/add", ["NET_ADMIN"]),
    ),
    pods.images_are_ours_and_of_one_version: (
        Fault("an image of others", SERVICE, f"{CONTAINER}/image", "ontime-server:0.1.0"),
        Fault("an engine without an image", DASK, f"{CONTAINER}/image", "ontime-worker-ray:0.1.0", ON_DASK),
        Fault("an image of tomorrow", SERVICE, f"{CONTAINER}/image", "ontime-serve:latest"),
    ),
    pods.a_release_is_there_before_the_service_and_it_cannot_alter_it: (
        Fault("no release to start on", SERVICE, f"{POD}/initContainers/first-release", GONE),
        Fault("a mirror that is waited for", SERVICE, f"{POD}/initContainers/mirror/restartPolicy", GONE),
        Fault("a folder that nobody fills", SERVICE, f"{CONTAINER}/volumeMounts/releases/name", "tmp"),
        Fault("a service that alters releases", SERVICE, f"{CONTAINER}/volumeMounts/releases/readOnly", False),
    ),
    storage.what_is_written_is_on_a_volume: (
        Fault("nowhere to put the spool", SERVICE, f"{CONTAINER}/volumeMounts/spool", GONE),
        Fault("a spool elsewhere", "ConfigMap/ontime-service", "data/ONTIME_SPOOL", "/spool"),
        Fault("a mirror that cannot write",
              SERVICE, f"{POD}/initContainers/mirror/volumeMounts/releases/readOnly", True),
        Fault("data that is forgotten",
              "CronJob/ontime-materialise", f"{JOBS_CONTAINER}/volumeMounts/worker/mountPath", "/data"),
        Fault("the checkout is hidden",
              "CronJob/ontime-retrain", f"{JOBS_CONTAINER}/volumeMounts/worker/mountPath", "/app"),
        Fault("an engine without room for its files", DASK_WORKER, f"{CONTAINER}/volumeMounts/tmp", GONE, ON_DASK),
        Fault("a worker that cannot write partitions",
              DASK_WORKER, f"{CONTAINER}/volumeMounts/shared/mountPath", "/app/shared", NODE_DASK),
        Fault("messages that are forgotten", BROKER, f"{CONTAINER}/volumeMounts/messages", GONE, ON_STREAM),
        Fault("tables that cannot be written",
              STREAM, f"{POD}/initContainers/tables/volumeMounts/data/readOnly", True, ON_STREAM),
        Fault("a disk of the node filled up", SERVICE, f"{POD}/volumes/tmp/emptyDir", {}),
    ),
    storage.no_volume_is_where_a_cloud_mounts_its_token: (
        Fault("no place for the cloud's token",
              "CronJob/ontime-monitor", f"{JOBS_CONTAINER}/volumeMounts/database/mountPath", "/run/secrets"),
    ),
    storage.what_waits_for_the_database_outlives_its_pod: (
        Fault("a spool that goes with its pod",
              SERVICE, f"{POD}/volumes/spool", {"name": "spool", "emptyDir": {"sizeLimit": "1Gi"}}),
        Fault("a pod that is killed while it empties its spool",
              SERVICE, f"{POD}/terminationGracePeriodSeconds", 40, "production-spool-in-pod"),
        Fault("a spool of one node", "PersistentVolumeClaim/ontime-spool", "spec/accessModes", ["ReadWriteOnce"]),
        Fault("a canary with a spool of its own",
              CANARY, f"{POD}/volumes/spool/persistentVolumeClaim/claimName", "ontime-worker", "canary"),
    ),
    storage.secrets_are_files_for_those_who_need_them: (
        Fault("a password in git", "", "", SECRET),
        Fault("a password in the environment", SERVICE, f"{CONTAINER}/env", [PASSWORD]),
        Fault("a password for the mirror",
              SERVICE, f"{POD}/initContainers/mirror/volumeMounts/-", DATABASE),
        Fault("a bucket for a job that only reads the database",
              "CronJob/ontime-backup", f"{JOBS_CONTAINER}/command", ["ontime", "prune"]),
        Fault("a service's bucket that can be written",
              SERVICE, f"{POD}/volumes/bucket/secret/secretName", "ontime-bucket-writer"),
        Fault("a key that signs releases in the service",
              SERVICE, f"{POD}/volumes/trusted-keys/secret/secretName", "ontime-signing"),
        Fault("keys that the service can alter", SERVICE, f"{CONTAINER}/volumeMounts/api-keys/readOnly", False),
        Fault("a worker that can alter releases",
              DASK_WORKER, f"{POD}/volumes/work/secret/secretName", "ontime-bucket-writer", ON_DASK),
        Fault("a worker that can sign releases",
              DASK_WORKER, f"{POD}/volumes/work/secret/secretName", "ontime-signing", ON_DASK),
        Fault("a scheduler that can read the bucket",
              DASK, f"{POD}/volumes/engine/secret/secretName", "ontime-bucket-work", ON_DASK),
        Fault("a feed that can read the database",
              FEED, f"{POD}/volumes/secrets/secret/secretName", "ontime-database", ON_STREAM),
        Fault("a stream that can sign releases",
              STREAM, f"{POD}/volumes/trusted-keys/secret/secretName", "ontime-signing", ON_STREAM),
        Fault("a token that all can read",
              STREAM, f"{POD}/volumes/secrets/projected/defaultMode", 0o444, ON_STREAM),
        Fault("a password that all can read", SERVICE, f"{POD}/volumes/database/secret/defaultMode", 0o444),
    ),
    storage.who_shares_the_disk_of_a_node_goes_to_that_node: (
        Fault("a job that waits for a disk", "CronJob/ontime-monitor", f"{JOB}/template/spec/affinity", GONE),
    ),
    parts.what_is_named_is_there: (
        Fault("settings that are not there", SERVICE, f"{CONTAINER}/envFrom/0/configMapRef/name", "ontime-settings"),
        Fault("a claim that is not there",
              PUBLISHER, f"{POD}/volumes/worker/persistentVolumeClaim/claimName", "ontime"),
        Fault("an account that is not there", SERVICE, f"{POD}/serviceAccountName", "ontime"),
        Fault("a secret that nobody makes", SERVICE, f"{POD}/volumes/api-keys/secret/secretName", "ontime-keys"),
        Fault("a broker's key that nobody makes",
              STREAM, f"{POD}/volumes/secrets/projected/sources/1/secret/items/0/key", "address", ON_STREAM),
        Fault("a secret's key that nobody makes", SERVICE, f"{POD}/volumes/database/secret/items/0/key", "dsn"),
        Fault("a volume that is not there", SERVICE, f"{POD}/volumes/tmp", GONE),
        Fault("a certificate that nobody makes", "Ingress/ontime", "spec/tls/0/secretName", "tls"),
        Fault("a class that is not there",
              "CronJob/ontime-monitor", f"{JOB}/template/spec/priorityClassName", "batch"),
        Fault("a name twice", "", "", TWICE),
    ),
    parts.all_is_in_one_strict_namespace: (
        Fault("another namespace", SERVICE, "metadata/namespace", "default"),
        Fault("a lenient namespace",
              "Namespace/ontime", "metadata/labels/pod-security.kubernetes.io~enforce", "baseline"),
    ),
    parts.selectors_find_what_they_mean_and_nothing_else: (
        Fault("stable counts the canary's pods", SERVICE, "spec/selector/matchLabels/track", GONE, "canary"),
        Fault("a selector without pods", SERVICE, "spec/selector/matchLabels/track", "main"),
        Fault("a canary that nobody asks", "Service/ontime", "spec/selector/track", "stable", "canary"),
        Fault("jobs that ask a worker", "Service/ontime-dask", "spec/selector/engine", "worker", ON_DASK),
        Fault("jobs that ask the service",
              "Service/ontime-spark", "spec/selector/app.kubernetes.io~component", "service", ON_SPARK),
        Fault("a broker that is the stream",
              "Service/ontime-broker", "spec/selector/app.kubernetes.io~component", "stream", ON_STREAM),
        Fault("a broker that counts others",
              BROKER, "spec/selector/matchLabels/app.kubernetes.io~component", "feed", ON_STREAM),
        Fault("a spread that counts others",
              SERVICE, f"{POD}/topologySpreadConstraints/0/labelSelector/matchLabels/track", "canary"),
        Fault("a policy about nobody",
              "NetworkPolicy/worker-reaches-mlflow", "spec/podSelector/matchLabels/role", "trainer"),
    ),
    parts.ports_lead_to_the_one_that_listens: (
        Fault("a port at which nobody listens", "Service/ontime", "spec/ports/0/targetPort", "web"),
        Fault("the service listens elsewhere", "ConfigMap/ontime-service", "data/ONTIME_PORT", "8080"),
        Fault("a scheduler at another port", DASK, f"{CONTAINER}/command/6", "8780", ON_DASK),
        Fault("a worker that is not asked whether it is alive",
              DASK_WORKER, f"{CONTAINER}/livenessProbe", GONE, ON_DASK),
        Fault("a broker at another port", BROKER, f"{CONTAINER}/command/4", "4223", ON_STREAM),
        Fault("a broker that is not asked whether it is alive", BROKER, f"{CONTAINER}/livenessProbe", GONE, ON_STREAM),
        Fault("metrics at another port", "ConfigMap/ontime-stream", "data/ONTIME_STREAM_PORT", "8002", ON_STREAM),
        Fault("metrics for its own pod only", "ConfigMap/ontime-stream", "data/ONTIME_STREAM_HOST", GONE, ON_STREAM),
        Fault("a driver at a port of its own choice",
              "ConfigMap/ontime-engine", "data/PYSPARK_SUBMIT_ARGS", "pyspark-shell", ON_SPARK),
        Fault("a way in to another port", "NetworkPolicy/service-ingress", "spec/ingress/0/ports/0/port", "metrics"),
        Fault("an Ingress to nowhere",
              "Ingress/ontime", "spec/rules/0/http/paths/0/backend/service/port/name", "https"),
        Fault("a route to nowhere", "HTTPRoute/ontime", "spec/rules/0/backendRefs/0/port", 8000, ON_CLOUD),
    ),
    parts.callers_reach_their_routes_and_no_others: (
        Fault("metrics for the internet", "Ingress/ontime", "spec/rules/0/http/paths/0/pathType", "Prefix"),
        Fault("no predictions", "Ingress/ontime", "spec/rules/0/http/paths/1/pathType", "Exact"),
        Fault("metrics by the Gateway", "HTTPRoute/ontime", "spec/rules/0/matches/0/path/type", "PathPrefix", ON_CLOUD),
    ),
    parts.a_canary_is_stable_with_another_image: (
        Fault("a canary that is stable",
              CANARY, f"{CONTAINER}/image", "ghcr.io/your-org/ontime-serve:0.1.0", "canary"),
        Fault("a canary with more room", CANARY, f"{CONTAINER}/resources/limits/memory", "4Gi", "canary"),
    ),
    capacity.a_rollout_loses_no_capacity: (
        Fault("a rollout that takes one away first", SERVICE, "spec/strategy/rollingUpdate/maxUnavailable", 1),
        Fault("a new pod is trusted at once", SERVICE, "spec/minReadySeconds", GONE),
        Fault("no way back", SERVICE, "spec/revisionHistoryLimit", 0),
        Fault("all at once", SERVICE, "spec/strategy", {"type": "Recreate"}),
        Fault("a rollout without a stream", STREAM, "spec/strategy", {"type": "Recreate"}, ON_STREAM),
    ),
    capacity.scaling_and_eviction_leave_room_for_each_other: (
        Fault("no node can be drained", "PodDisruptionBudget/ontime", "spec/minAvailable", 3),
        Fault("no node of the stream can be drained",
              "PodDisruptionBudget/ontime-stream", "spec/minAvailable", 2, ON_STREAM),
        Fault("no node can be drained, by a share", "PodDisruptionBudget/ontime", "spec/minAvailable", "90%"),
        Fault("fewer pods than the budget wants", "HorizontalPodAutoscaler/ontime", "spec/minReplicas", 2),
        Fault("a count that each apply sets back", SERVICE, "spec/replicas", 3),
        Fault("an autoscaler of nothing", "HorizontalPodAutoscaler/ontime", "spec/scaleTargetRef/name", "service"),
        Fault("an autoscaler that measures nothing",
              "HorizontalPodAutoscaler/ontime", "spec/metrics/0/containerResource/container", "ontime"),
        Fault("no room to scale", "HorizontalPodAutoscaler/ontime", "spec/maxReplicas", 3),
        Fault("down as fast as up",
              "HorizontalPodAutoscaler/ontime", "spec/behavior/scaleDown/stabilizationWindowSeconds", 0),
    ),
    jobs.jobs_end_and_never_overlap: (
        Fault("two at once", "CronJob/ontime-retrain", "spec/concurrencyPolicy", "Allow"),
        Fault("a zone that is none", "CronJob/ontime-monitor", "spec/timeZone", "New_York"),
        Fault("hangs for ever", "CronJob/ontime-monitor", f"{JOB}/activeDeadlineSeconds", GONE),
        Fault("hangs until after the next", "CronJob/ontime-materialise", f"{JOB}/activeDeadlineSeconds", 3600),
        Fault("a day that an outage hides", "CronJob/ontime-monitor", "spec/startingDeadlineSeconds", GONE),
        Fault("pods that pile up", "CronJob/ontime-monitor", "spec/successfulJobsHistoryLimit", GONE),
        Fault("tried again without end", "CronJob/ontime-monitor", f"{JOB}/backoffLimit", GONE),
        Fault("tried again in place", "CronJob/ontime-monitor", f"{JOB}/template/spec/restartPolicy", "OnFailure"),
    ),
    jobs.a_lost_node_costs_no_attempt: (
        Fault("a drained node is a failure", "CronJob/ontime-retrain", f"{JOB}/podFailurePolicy", GONE),
        Fault("a node taken away from a retraining",
              "CronJob/ontime-retrain", f"{JOB}/template/metadata/annotations/karpenter.sh~do-not-disrupt", GONE),
        Fault("killed with its child processes",
              "CronJob/ontime-retrain", f"{JOB}/template/spec/terminationGracePeriodSeconds", 5),
    ),
    jobs.what_runs_exists_and_runs_when_prefect_would: (
        Fault("a command that is not there", "CronJob/ontime-monitor", f"{JOBS_CONTAINER}/command/1", "watch"),
        Fault("a module that is not there",
              "Deployment/ontime-publisher", f"{POD}/containers/publisher/command/2", "pipelines.mirror"),
        Fault("a program that is not there", BROKER, f"{CONTAINER}/command/0", "kafka-server", ON_STREAM),
        Fault("a class that is not there",
              "Deployment/ontime-spark-master", f"{CONTAINER}/command/1", "org.apache.spark.Master", ON_SPARK),
        Fault("a job that does nothing", "CronJob/ontime-first-release", f"{JOBS_CONTAINER}/command", ["true"]),
        Fault("a word that the mirror does not know", SERVICE, f"{POD}/initContainers/mirror/args/0", "fetch"),
        Fault("another time than Prefect's", "CronJob/ontime-monitor", "spec/schedule", "30 5 * * *"),
        Fault("another time zone than the problem's", "CronJob/ontime-monitor", "spec/timeZone", "Europe/Berlin"),
        Fault("a shell that passes no signal on",
              "CronJob/ontime-first-release", f"{JOBS_CONTAINER}/command/2",
              "python -m pipelines.ingest && ontime retrain --now"),
        Fault("a first release every year", "CronJob/ontime-first-release", "spec/suspend", False),
    ),
    network.each_pod_reaches_what_it_needs_and_nothing_else: (
        Fault("open by default", "NetworkPolicy/deny-all", "spec/policyTypes", ["Ingress"]),
        Fault("out to the world",
              "NetworkPolicy/mirrors-reach-the-bucket", "spec/egress/0/to/0/ipBlock/cidr", "0.0.0.0/0"),
        Fault("out to anybody", "NetworkPolicy/service-and-worker-reach-postgresql", "spec/egress/0/to", GONE),
        Fault("out by any port", "NetworkPolicy/service-and-worker-reach-postgresql", "spec/egress/0/ports", GONE),
        Fault("in from every namespace",
              "NetworkPolicy/service-ingress", NAMESPACES, {}),
        Fault("in from one namespace more",
              "NetworkPolicy/service-ingress", f"{NAMESPACES}/matchExpressions/0/values/-", "default"),
        Fault("no way to the database",
              "NetworkPolicy/service-and-worker-reach-postgresql", "spec/egress/0/ports/0/port", 3306),
        Fault("no names by the node's cache",
              "NetworkPolicy/all-resolve-names", "spec/egress/0/to/1", GONE),
        Fault("no way to the webhook", "NetworkPolicy/worker-reaches-the-webhook", "spec/egress", [], ON_CLOUD),
        Fault("a way to a webhook that is not set",
              "ConfigMap/ontime-worker", "data/ONTIME_WEBHOOK", GONE, ON_CLOUD),
        Fault("a backup that cannot reach its bucket",
              "CronJob/ontime-backup", f"{JOB}/template/metadata/labels/mirrors", GONE),
        Fault("no names", "NetworkPolicy/all-resolve-names", "spec/egress", []),
        Fault("MLflow elsewhere",
              "ConfigMap/ontime-worker", "data/ONTIME_TRACKING_URL", "http://mlflow.tracking:5000"),
        Fault("a bucket at another port", "ConfigMap/ontime-mirror", "data/AWS_ENDPOINT_URL", "http://10.0.3.4:8333"),
        Fault("a scheduler for anybody",
              "NetworkPolicy/dask-scheduler", "spec/ingress/0/from/0/podSelector", {}, ON_DASK),
        Fault("a scheduler for all namespaces", "NetworkPolicy/dask-scheduler", "spec/ingress/0/from", GONE, ON_DASK),
        Fault("jobs that cannot reach the scheduler", "NetworkPolicy/jobs-reach-dask", "spec/egress", [], ON_DASK),
        Fault("an address that no Service has",
              "ConfigMap/ontime-engine", "data/ONTIME_ENGINE_ADDRESS", "tls://ontime-scheduler:8786", ON_DASK),
        Fault("executors that cannot call back",
              "NetworkPolicy/spark-jobs", "spec/ingress/0/ports/0/port", 7078, ON_SPARK),
        Fault("executors that cannot exchange blocks",
              "NetworkPolicy/spark-workers", "spec/egress/2/ports/0/port", 7337, ON_SPARK),
        Fault("workers that cannot reach the bucket",
              "NetworkPolicy/engine-reaches-the-bucket", "spec/podSelector/matchExpressions/0/values", ["client"],
              ON_DASK),
        Fault("workers that cannot look features up",
              "NetworkPolicy/engine-workers-reach-postgresql", "spec/egress", [], ON_DASK),
        Fault("a broker for anybody",
              "NetworkPolicy/broker-ingress", "spec/ingress/0/from/0/podSelector", {}, ON_STREAM),
        Fault("a stream that cannot reach the broker",
              "NetworkPolicy/stream-and-feed-reach-the-broker", "spec/podSelector/matchExpressions/0/values", ["feed"],
              ON_STREAM),
        Fault("a feed that may reach the database",
              "NetworkPolicy/stream-reaches-postgresql", "spec/podSelector/matchLabels",
              {"app.kubernetes.io/name": "ontime"}, ON_STREAM),
        Fault("metrics for everybody", "NetworkPolicy/stream-ingress", "spec/ingress/0/from", GONE, ON_STREAM),
        Fault("the service may reach MLflow", "NetworkPolicy/worker-reaches-mlflow", "spec/podSelector", {}),
    ),
    prometheus.prometheus_may_scrape_what_it_is_told_to: (
        Fault("a field that the operator does not know",
              "ServiceMonitor/ontime", "spec/endpoints/0/bearerToken", "ontime-metrics-key"),
        Fault("no key for the metrics", "ServiceMonitor/ontime", "spec/endpoints/0/authorization", GONE),
        Fault("a key that nobody makes",
              "ServiceMonitor/ontime", "spec/endpoints/0/authorization/credentials/name", "ontime-api-keys"),
        Fault("a port that the Service has not", "ServiceMonitor/ontime", "spec/endpoints/0/port", "metrics"),
        Fault("a path without metrics", "ServiceMonitor/ontime", "spec/endpoints/0/path", "/v1/metrics"),
        Fault("labels that no pod has", "ServiceMonitor/ontime", "spec/podTargetLabels", ["version"]),
        Fault("metrics of the stream elsewhere",
              "ServiceMonitor/ontime-stream", "spec/endpoints/0/path", "/", ON_STREAM),
        Fault("a stream that nobody scrapes",
              "ServiceMonitor/ontime-stream", "spec/selector/matchLabels/app.kubernetes.io~component", "broker",
              ON_STREAM),
        Fault("a job by another name", "Service/ontime", "metadata/name", "ontime-service"),
    ),
}  # fmt: skip
