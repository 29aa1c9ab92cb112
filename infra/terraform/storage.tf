# One key, four buckets, and a file system for what has to outlive a task but is no object.

locals {
  buckets = toset(["releases", "dvc", "mlflow", "backups"])
}

# A key of our own: a copied backup or snapshot is unreadable to whoever may not use it, in this account as well.
resource "aws_kms_key" "data" {
  description         = "All that ${var.name} keeps"
  enable_key_rotation = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TheAccountDecidesByItsRoles" # without this nobody could ever change the key again
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${var.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*" # in a key's policy: this key
      },
      {
        Sid       = "LogsAreEncrypted"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = { ArnLike = {
          "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:${var.region}:${var.account_id}:log-group:*"
        } }
      },
      {
        Sid       = "AlarmsReachTheTopic"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
      },
      {
        Sid       = "EventsReachTheTopic" # as EventBridge's own guide has it, without a condition
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
      },
    ]
  })
}

resource "aws_kms_alias" "data" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.data.key_id
}

resource "aws_s3_bucket" "store" {
  # checkov:skip=CKV_AWS_18:Two roles can read them, and CloudTrail can tell of both; a fifth bucket for their logs tells no more
  # checkov:skip=CKV_AWS_144:What is in them can be made again from the commit, or is itself a copy; a second region doubles the bill
  # checkov:skip=CKV2_AWS_62:Nobody waits for an event: the service looks at its pointer every five seconds
  for_each      = local.buckets
  bucket        = "${var.name}-${each.key}-${var.account_id}" # names are the world's; the account makes them ours
  force_destroy = !var.protected
}

resource "aws_s3_bucket_public_access_block" "store" {
  for_each                = local.buckets
  bucket                  = aws_s3_bucket.store[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.store[each.key].id

  rule {
    bucket_key_enabled = true # one call to KMS for many objects: the pointer is read a million times a month

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.data.arn
    }
  }
}

# What the worker overwrites by mistake, or somebody in its name on purpose, can be brought back: it may not delete.
resource "aws_s3_bucket_versioning" "store" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.store[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "store" {
  for_each   = local.buckets
  bucket     = aws_s3_bucket.store[each.key].id
  depends_on = [aws_s3_bucket_versioning.store] # rules about old versions are refused without it

  rule {
    id     = "tidy"
    status = "Enabled"
    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 90
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    # Read once in a bad year: a sixth of the price, and there at once all the same.
    dynamic "transition" {
      for_each = each.key == "backups" ? [30] : []

      content {
        days          = transition.value
        storage_class = "GLACIER_IR"
      }
    }

    dynamic "expiration" {
      for_each = each.key == "backups" ? [365] : []

      content {
        days = expiration.value
      }
    }
  }
}

resource "aws_s3_bucket_policy" "tls" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.store[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "RefusedWithoutTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.store[each.key].arn, "${aws_s3_bucket.store[each.key].arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

# Fargate's own disk goes with the task. Here is what must not: the service's spool (answers that wait for the database)
# and the worker's clone, with its releases and quarantine.
resource "aws_efs_file_system" "state" {
  encrypted  = true
  kms_key_id = aws_kms_key.data.arn
  tags       = { Name = var.name }
}

resource "aws_efs_mount_target" "state" {
  count           = 2
  file_system_id  = aws_efs_file_system.state.id
  subnet_id       = aws_subnet.private[count.index].id
  security_groups = [aws_security_group.of["files"].id]
}

# Each sees its own folder as the root, whatever path it asks for, and writes as the images' user.
resource "aws_efs_access_point" "state" {
  for_each       = toset(["service", "worker"])
  file_system_id = aws_efs_file_system.state.id

  posix_user {
    uid = 10001
    gid = 10001
  }

  root_directory {
    path = "/${each.key}"

    creation_info {
      owner_uid   = 10001
      owner_gid   = 10001
      permissions = "0700"
    }
  }
}

# Without a policy whoever reaches the port may mount everything. With it: these two roles, by their own door, by TLS.
resource "aws_efs_file_system_policy" "state" {
  file_system_id = aws_efs_file_system.state.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [for who in ["service", "worker"] : {
      Sid       = "The${title(who)}ByItsOwnDoor"
      Effect    = "Allow"
      Principal = { AWS = aws_iam_role.task[who].arn }
      Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
      Resource  = aws_efs_file_system.state.arn
      Condition = {
        StringEquals = { "elasticfilesystem:AccessPointArn" = aws_efs_access_point.state[who].arn }
        Bool         = { "aws:SecureTransport" = "true" }
      }
    }]
  })
}
