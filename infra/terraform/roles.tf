# Roles and permissions. Policies use jsonencode instead of aws_iam_policy_document, so that a test can read them without
# calling AWS (tests/roles.tftest.hcl).

locals {
  read_objects  = ["s3:GetObject"]
  write_objects = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"] # nobody may delete

  # Includes listing: without it, S3 reports a missing object as "forbidden", which the mirror would take for an
  # unreachable store.
  may = {
    service = concat(
      [{ Effect = "Allow", Action = ["s3:ListBucket"], Resource = [aws_s3_bucket.store["releases"].arn] }],
      [{ Effect = "Allow", Action = local.read_objects, Resource = ["${aws_s3_bucket.store["releases"].arn}/*"] }],
      [{ Effect = "Allow", Action = ["kms:Decrypt"], Resource = [aws_kms_key.data.arn] }],
    )
    worker = concat(
      [{ Effect = "Allow", Action = ["s3:ListBucket"], Resource = [for store in aws_s3_bucket.store : store.arn] }],
      [{ Effect = "Allow", Action = local.write_objects, Resource = [for store in aws_s3_bucket.store : "${store.arn}/*"] }],
      [{ Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = [aws_kms_key.data.arn] }],
    )
  }

  images = { service = ["serve", "mirror"], worker = ["worker"] }

  # Only for tasks of this account: prevents the confused deputy problem.
  trusted_tasks = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = var.account_id }
        ArnLike      = { "aws:SourceArn" = "arn:aws:ecs:${var.region}:${var.account_id}:*" }
      }
    }]
  })
}

# Permissions of the programs in a task. The file system's policy (storage.tf) allows these roles.
resource "aws_iam_role" "task" {
  for_each           = local.may
  name               = "${var.name}-${each.key}"
  assume_role_policy = local.trusted_tasks
}

resource "aws_iam_role_policy" "task" {
  for_each = local.may
  name     = "data"
  role     = aws_iam_role.task[each.key].id
  policy   = jsonencode({ Version = "2012-10-17", Statement = each.value })
}

# Permissions of ECS to start a task: pull its images, read its secret, write its log. The programs do not have this role.
resource "aws_iam_role" "start" {
  for_each           = local.may
  name               = "${var.name}-start-${each.key}"
  assume_role_policy = local.trusted_tasks
}

resource "aws_iam_role_policy" "start" {
  for_each = local.may
  name     = "start"
  role     = aws_iam_role.start[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] }, # AWS does not support it for single resources
      {
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = [for image in local.images[each.key] : aws_ecr_repository.image[image].arn]
      },
      { Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = [aws_secretsmanager_secret.files[each.key].arn] },
      { Effect = "Allow", Action = ["kms:Decrypt"], Resource = [aws_kms_key.data.arn] },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.of[each.key].arn}:*"]
      },
    ]
  })
}

# The scheduler starts the worker's tasks, with the worker's roles only.
resource "aws_iam_role" "clock" {
  name = "${var.name}-clock"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "clock" {
  name = "start-the-worker"
  role = aws_iam_role.clock.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = ["ecs:RunTask"]
        Resource  = ["${aws_ecs_task_definition.worker.arn_without_revision}:*"]
        Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.main.arn } }
      },
      {
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = [aws_iam_role.task["worker"].arn, aws_iam_role.start["worker"].arn]
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
      { Effect = "Allow", Action = ["sqs:SendMessage"], Resource = [aws_sqs_queue.not_started.arn] },
    ]
  })
}

# GitHub identifies the workflow with a short-lived token, so there is no stored key that could be stolen.
resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "github" {
  name                 = "${var.name}-github"
  max_session_duration = 3600

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.github.arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = { StringEquals = {
        "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
        # Of a job in this environment, which a reviewer must approve. StringEquals, not StringLike: tokens of pull requests,
        # branches and tags have another subject and are rejected.
        "token.actions.githubusercontent.com:sub" = "repo:${var.github_repository}:environment:production"
      } }
    }]
  })
}

resource "aws_iam_role_policy" "github" {
  name = "push-images"
  role = aws_iam_role.github.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] },
      {
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:CompleteLayerUpload",
          "ecr:InitiateLayerUpload",
          "ecr:PutImage",
          "ecr:UploadLayerPart",
        ]
        Resource = [for image in aws_ecr_repository.image : image.arn]
      },
    ]
  })
}
