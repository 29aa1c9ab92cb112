# An encryption key, four buckets, and a file system for files that must outlive a task.

locals {
  buckets = toset(["releases", "dvc", "mlflow", "backups"])
}

# A customer-managed key: a copied backup or snapshot is unreadable without permission for it, also in this account.
resource "aws_kms_key" "data" {
  description         = "All data of ${var.name}"
  enable_key_rotation = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TheAccountDecidesByItsRoles" # without this, nobody could ever change the key
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${var.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*" # in a key policy: this key
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
        Sid       = "EventsReachTheTopic" # without a condition, as in EventBridge's guide
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
      },
    ]
  })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "data" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.data.key_id
}

resource "aws_s3_bucket" "store" {
  # checkov:skip=CKV_AWS_18:Two roles can read them, and CloudTrail records both; a fifth bucket for access logs adds nothing
  # checkov:skip=CKV_AWS_144:Their contents can be rebuilt from the commit or are copies; a second region doubles the cost
  # checkov:skip=CKV2_AWS_62:Nothing uses events: the service reads the pointer every five seconds
  for_each      = local.buckets
  bucket        = "${var.name}-${each.key}-${var.account_id}" # names are global; the account makes them unique
  force_destroy = !var.protected

  lifecycle {
    prevent_destroy = true # like the database, the file system and the key
  }
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
    bucket_key_enabled = true # one KMS call for many objects: the pointer is read a million times a month

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.data.arn
    }
  }
}

# Objects that the worker overwrites, by mistake or in an attack, can be restored: it may not delete versions.
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
  depends_on = [aws_s3_bucket_versioning.store] # rules for old versions require it

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

    # Rarely read: a sixth of the price, with immediate access.
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

# Fargate deletes a task's disk with the task. The file system holds what must outlive it: the service's spool (predictions
# that wait for the database), and the worker's clone with its releases and quarantine.
resource "aws_efs_file_system" "state" {
  encrypted  = true
  kms_key_id = aws_kms_key.data.arn
  tags       = { Name = var.name }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_efs_mount_target" "state" {
  count           = 2
  file_system_id  = aws_efs_file_system.state.id
  subnet_id       = aws_subnet.private[count.index].id
  security_groups = [aws_security_group.of["files"].id]
}

# Each has its own folder as the root, and writes as the images' user.
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

# Without a policy, whoever reaches the port may mount everything. This allows two roles, each by its access point, by TLS.
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
