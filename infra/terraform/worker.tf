# The worker: scheduled tasks, one per run. Their results are in the database, in the buckets, and in the worker's folder
# of the file system.

locals {
  # The commands as in a clone. The first line of each run restores what the previous task has left on the file system.
  data     = "dvc remote add --quiet --local --force --default store ${local.bucket["dvc"]}\ndvc pull --quiet ingest"
  releases = "test -e var/releases/current.json || python -m pipelines.operations.mirror pull"

  jobs = {
    materialise = {
      when    = "rate(15 minutes)"
      command = [local.data, local.releases, "ontime materialise"]
    }
    monitor = {
      when    = "cron(30 5 * * ? *)" # by then the last outcomes of the day have arrived
      command = [local.releases, "ontime monitor", "python -m pipelines.operations.mirror push"]
    }
    retrain = {
      when    = "cron(0 6 ? * MON *)" # does nothing unless the policy has requested it
      command = [local.releases, "ontime retrain", "python -m pipelines.operations.mirror push"]
    }
  }
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
      entryPoint      = ["sh", "-ec"] # the schedule adds the command
      command         = ["ontime monitor"]
      environment = [
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

resource "aws_scheduler_schedule" "job" {
  # checkov:skip=CKV_AWS_297:The encrypted content would be the command line in this file, which is public
  for_each                     = local.jobs
  name                         = "${var.name}-${each.key}"
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
    input    = jsonencode({ containerOverrides = [{ name = "worker", command = [join("\n", each.value.command)] }] })

    ecs_parameters {
      task_definition_arn = aws_ecs_task_definition.worker.arn
      launch_type         = "FARGATE"

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
  }
}
