# The worker: scheduled tasks, one per run. Their results are in the database, in the buckets, and in the worker's folder
# of the file system.

locals {
  # The commands as in a clone. The first line of each run restores what the previous task has left on the file system.
  data     = "dvc remote add --quiet --local --force --default store ${local.bucket["dvc"]}\ndvc pull --quiet ingest"
  releases = "test -e var/releases/current.json || python -m pipelines.operations.mirror pull"

  # At the times of prefect.yaml, with the deadlines of infra/kubernetes/base/worker.yaml.
  jobs = {
    materialise = {
      when    = "rate(15 minutes)"
      seconds = 840 # ends before the next one
      script  = [local.data, local.releases, "ontime materialise"]
    }
    monitor = {
      when    = "cron(0 5 * * ? *)" # by then the last outcomes of the day have arrived
      seconds = 7200
      script  = [local.releases, "ontime monitor", "python -m pipelines.operations.mirror push"]
    }
    prune = {
      when    = "cron(30 3 * * ? *)"
      seconds = 10800
      script  = [local.releases, "ontime prune"]
    }
    backup = {
      when    = "cron(30 2 * * ? *)"
      seconds = 7200
      script  = ["ontime backup"]
    }
    retrain = {
      when    = "cron(0 6 ? * MON *)" # does nothing unless the policy has requested it
      seconds = 21600
      script  = [local.releases, "ontime retrain", "python -m pipelines.operations.mirror push"]
    }
  }

  # A task has no deadline, and a schedule starts the next one whether or not the last one has ended. So each job ends
  # after its time, and holds a lock on the shared file system, which NFS releases when its holder is gone.
  commands = { for name, job in local.jobs : name => [
    "timeout", "--kill-after=30", tostring(job.seconds),
    "python", "-m", "ontime.locks", "var/${name}.lock", name,
    "sh", "-ec", join("\n", job.script),
  ] }
}

resource "aws_ecs_task_definition" "worker" {
  # checkov:skip=CKV_AWS_336:Pipelines write into their clone of the repository
  family                   = "${var.name}-worker"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 1024
  memory                   = 4096 # the largest stage needs 0.9 GB (reports/bench_train.json), and the data grow
  task_role_arn            = aws_iam_role.task["worker"].arn
  execution_role_arn       = aws_iam_role.start["worker"].arn

  container_definitions = jsonencode([
    {
      name                   = "prepare"
      image                  = local.image["worker"]
      essential              = false
      user                   = "0"
      readonlyRootFilesystem = true
      entryPoint             = ["python", "-c", file("${path.module}/unpack.py")]
      command                = ["/run/secrets"]
      secrets                = [{ name = "FILES", valueFrom = aws_secretsmanager_secret.files["worker"].arn }]
      mountPoints            = [{ sourceVolume = "secrets", containerPath = "/run/secrets", readOnly = false }]
      logConfiguration       = local.log["worker"]
    },
    {
      name            = "worker"
      image           = local.image["worker"]
      essential       = true
      linuxParameters = local.unprivileged
      command         = local.commands["monitor"] # the schedule sets its own
      stopTimeout     = 60                        # to end child processes and roll back
      environment = [
        { name = "ONTIME_BACKUPS", value = local.bucket["backups"] },
        { name = "AWS_DEFAULT_REGION", value = var.region },
        { name = "DVC_SITE_CACHE_DIR", value = "/tmp/dvc" },    # for `dvc pull`
        { name = "ONTIME_DVC_SITE_CACHE", value = "/tmp/dvc" }, # for this project's commands
        { name = "ONTIME_RELEASES", value = "var/releases" },   # on the file system
        { name = "ONTIME_RELEASES_STORE", value = local.bucket["releases"] },
        { name = "ONTIME_SECRETS", value = "/run/secrets" },
        { name = "ONTIME_SIGNING_KEY", value = "/run/secrets/signing_key" }, # the service does not have it
        { name = "ONTIME_TRUSTED_KEYS", value = "/run/secrets/trusted_keys" },
      ]
      dependsOn = [{ containerName = "prepare", condition = "SUCCESS" }]
      mountPoints = [
        { sourceVolume = "secrets", containerPath = "/run/secrets", readOnly = true },
        { sourceVolume = "var", containerPath = "/app/var", readOnly = false },
      ]
      logConfiguration = local.log["worker"]
    },
  ])

  volume {
    name = "secrets"
  }

  volume {
    name = "var"

    efs_volume_configuration {
      file_system_id     = aws_efs_file_system.state.id
      transit_encryption = "ENABLED"

      authorization_config {
        access_point_id = aws_efs_access_point.state["worker"].id
        iam             = "ENABLED"
      }
    }
  }
}

resource "aws_scheduler_schedule_group" "jobs" {
  name = var.name # a group of our own, because the scheduler's metrics are by group
}

resource "aws_sqs_queue" "not_started" {
  name                      = "${var.name}-not-started"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600 # two weeks, the most: a person reads them
}

resource "aws_scheduler_schedule" "job" {
  # checkov:skip=CKV_AWS_297:The encrypted content would be the command line in this file, which is public
  for_each                     = local.jobs
  name                         = "${var.name}-${each.key}"
  group_name                   = aws_scheduler_schedule_group.jobs.name
  description                  = "ontime ${each.key}"
  schedule_expression          = each.value.when
  schedule_expression_timezone = "America/New_York" # the problem's time zone

  # Without images and secrets, every start would fail.
  state = var.service.tasks > 0 ? "ENABLED" : "DISABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_ecs_cluster.main.arn
    role_arn = aws_iam_role.clock.arn
    input    = jsonencode({ containerOverrides = [{ name = "worker", command = local.commands[each.key] }] })

    ecs_parameters {
      task_definition_arn     = aws_ecs_task_definition.worker.arn
      launch_type             = "FARGATE"
      enable_ecs_managed_tags = true
      propagate_tags          = "TASK_DEFINITION"

      network_configuration {
        subnets          = aws_subnet.public[*].id
        security_groups  = [aws_security_group.of["worker"].id]
        assign_public_ip = true
      }
    }

    # Each run processes everything since the last, so a missed one need not be repeated.
    retry_policy {
      maximum_event_age_in_seconds = 600
      maximum_retry_attempts       = 3
    }

    # Where a start goes that AWS has refused for ten minutes: no task, so no log and no event of a task.
    dead_letter_config {
      arn = aws_sqs_queue.not_started.arn
    }
  }
}
