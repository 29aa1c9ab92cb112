# The service: Fargate tasks behind a load balancer.
#
# App Runner would be simpler, but accepts no new customers since April 2026. Its successor, ECS Express Mode, runs a
# single container without volumes, and this service needs a mirror container for releases and a spool that outlives the
# task. Fargate needs no patching; a virtual machine costs less (README.md, last section).

resource "aws_ecs_cluster" "main" {
  # checkov:skip=CKV_AWS_65:Container Insights is billed per metric; the service has its own at /metrics
  name = var.name
}

locals {
  image  = { for name, repository in aws_ecr_repository.image : name => "${repository.repository_url}@${var.image_digests[name]}" }
  bucket = { for name, store in aws_s3_bucket.store : name => "s3://${store.bucket}" }

  log = { for name in ["service", "worker"] : name => {
    logDriver = "awslogs"
    options = {
      awslogs-group         = aws_cloudwatch_log_group.of[name].name
      awslogs-region        = var.region
      awslogs-stream-prefix = name
    }
  } }

  # The containers need no Linux capabilities.
  unprivileged = { capabilities = { drop = ["ALL"] }, initProcessEnabled = true }

  # prepare -> first-pull -> serve, with mirror as a sidecar.
  service_containers = [
    {
      name                   = "prepare"
      image                  = local.image["mirror"]
      essential              = false
      user                   = "0" # to change the owner of files and folders; see unpack.py
      readonlyRootFilesystem = true
      entryPoint             = ["python", "-c", file("${path.module}/unpack.py")]
      command                = ["/run/secrets", "/app/releases", "/tmp"]
      secrets                = [{ name = "FILES", valueFrom = aws_secretsmanager_secret.files["service"].arn }]
      mountPoints = [
        { sourceVolume = "secrets", containerPath = "/run/secrets", readOnly = false },
        { sourceVolume = "releases", containerPath = "/app/releases", readOnly = false },
        { sourceVolume = "tmp", containerPath = "/tmp", readOnly = false },
      ]
      logConfiguration = local.log["service"]
    },
    {
      name                   = "first-pull" # the service does not start without a release
      image                  = local.image["mirror"]
      essential              = false
      readonlyRootFilesystem = true
      linuxParameters        = local.unprivileged
      command                = ["pull"]
      environment            = local.mirror_environment
      dependsOn              = [{ containerName = "prepare", condition = "SUCCESS" }]
      mountPoints            = local.mirror_mounts
      logConfiguration       = local.log["service"]
    },
    {
      name                   = "mirror"
      image                  = local.image["mirror"]
      essential              = false # without it the service continues with its current release
      restartPolicy          = { enabled = true }
      readonlyRootFilesystem = true
      linuxParameters        = local.unprivileged
      command                = ["pull", "--every", "5"]
      environment            = local.mirror_environment
      dependsOn              = [{ containerName = "first-pull", condition = "SUCCESS" }]
      mountPoints            = local.mirror_mounts
      logConfiguration       = local.log["service"]
    },
    {
      name                   = "serve"
      image                  = local.image["serve"]
      essential              = true
      readonlyRootFilesystem = true
      linuxParameters        = local.unprivileged
      stopTimeout            = 30 # it needs 15 seconds at most, see settings.py
      portMappings           = [{ containerPort = 8000, protocol = "tcp" }]
      environment = [
        { name = "ONTIME_API_KEYS", value = "/run/secrets/api-keys.json" },
        { name = "ONTIME_SECRETS", value = "/run/secrets" },
        { name = "ONTIME_TRUSTED_KEYS", value = "/run/secrets/trusted_keys" },
      ]
      dependsOn = [{ containerName = "first-pull", condition = "SUCCESS" }]
      mountPoints = [
        { sourceVolume = "secrets", containerPath = "/run/secrets", readOnly = true },
        { sourceVolume = "releases", containerPath = "/app/releases", readOnly = true },
        { sourceVolume = "spool", containerPath = "/app/var/spool", readOnly = false },
        { sourceVolume = "tmp", containerPath = "/tmp", readOnly = false },
      ]
      logConfiguration = local.log["service"]
    },
  ]

  mirror_environment = [
    { name = "AWS_DEFAULT_REGION", value = var.region }, # Python's client does not read AWS_REGION
    { name = "ONTIME_RELEASES_STORE", value = local.bucket["releases"] },
  ]
  mirror_mounts = [
    { sourceVolume = "releases", containerPath = "/app/releases", readOnly = false },
    { sourceVolume = "tmp", containerPath = "/tmp", readOnly = false },
  ]
}

resource "aws_ecs_task_definition" "service" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.service.cpu
  memory                   = var.service.memory
  task_role_arn            = aws_iam_role.task["service"].arn
  execution_role_arn       = aws_iam_role.start["service"].arn
  container_definitions    = jsonencode(local.service_containers)

  # These three are deleted with the task.
  dynamic "volume" {
    for_each = ["secrets", "releases", "tmp"]

    content {
      name = volume.value
    }
  }

  volume {
    name = "spool"

    efs_volume_configuration {
      file_system_id     = aws_efs_file_system.state.id
      transit_encryption = "ENABLED"

      authorization_config {
        access_point_id = aws_efs_access_point.state["service"].id
        iam             = "ENABLED"
      }
    }
  }
}

resource "aws_ecs_service" "main" {
  # checkov:skip=CKV_AWS_333:A public address instead of a NAT gateway; see network.tf
  name                              = var.name
  cluster                           = aws_ecs_cluster.main.id
  task_definition                   = aws_ecs_task_definition.service.arn
  launch_type                       = "FARGATE"
  desired_count                     = var.service.tasks
  health_check_grace_period_seconds = 60

  # Otherwise the tasks have no tags, and the bill cannot be split.
  enable_ecs_managed_tags = true
  propagate_tags          = "SERVICE"

  # Start new tasks before the old ones stop; if the new ones fail, the old ones stay.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # The circuit breaker sees tasks that do not start. These see tasks that start and then answer with errors or slowly.
  alarms {
    enable      = true
    rollback    = true
    alarm_names = [aws_cloudwatch_metric_alarm.faults.alarm_name, aws_cloudwatch_metric_alarm.of["slow"].alarm_name]
  }

  # The autoscaler sets it: otherwise each apply would set it back.
  lifecycle {
    ignore_changes = [desired_count]
  }

  network_configuration {
    subnets          = aws_subnet.public[*].id
    security_groups  = [aws_security_group.of["service"].id]
    assign_public_ip = true
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.service.arn
    container_name   = "serve"
    container_port   = 8000
  }

  # Not referenced above, but required to start a task.
  depends_on = [
    aws_efs_file_system_policy.state,
    aws_efs_mount_target.state,
    aws_iam_role_policy.start,
    aws_iam_role_policy.task,
    aws_lb_listener.https,
  ]
}

# Like the autoscaler of infra/kubernetes: out within a minute, in after ten minutes of low load.
resource "aws_appautoscaling_target" "service" {
  count              = var.service.tasks > 0 ? 1 : 0
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.main.name}/${aws_ecs_service.main.name}"
  min_capacity       = var.service.tasks
  max_capacity       = var.service.max_tasks
}

resource "aws_appautoscaling_policy" "cpu" {
  count              = var.service.tasks > 0 ? 1 : 0
  name               = "${var.name}-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.service[0].service_namespace
  scalable_dimension = aws_appautoscaling_target.service[0].scalable_dimension
  resource_id        = aws_appautoscaling_target.service[0].resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = 70
    scale_out_cooldown = 60
    scale_in_cooldown  = 600

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

resource "aws_lb" "main" {
  # checkov:skip=CKV_AWS_91:The service logs every request itself, without confidential contents
  # checkov:skip=CKV2_AWS_28:A web application firewall; here every request needs a key, and is limited in size, time and rate
  name                       = var.name
  load_balancer_type         = "application"
  subnets                    = aws_subnet.public[*].id
  security_groups            = [aws_security_group.of["balancer"].id]
  drop_invalid_header_fields = true
  enable_deletion_protection = var.protected
}

resource "aws_lb_target_group" "service" {
  # checkov:skip=CKV_AWS_378:TLS ends at the load balancer; only its security group can connect to the tasks
  name_prefix          = substr(var.name, 0, 6) # AWS allows no longer one
  vpc_id               = aws_vpc.main.id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = 8000
  deregistration_delay = 30 # no request takes longer than ten seconds

  health_check {
    path                = "/health/ready"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2 # a process that hangs gets no requests after 13 seconds
  }

  # The listener needs the new one before the old one goes, for example after a change of the port.
  lifecycle {
    create_before_destroy = true
  }
}

# No port 80, not even for a redirect: a program would send its API key unencrypted before it is redirected.
resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.main.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.service.arn
  }
}
