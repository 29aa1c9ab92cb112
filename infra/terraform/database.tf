# One small PostgreSQL with a database for ontime and one for MLflow.

resource "aws_db_subnet_group" "private" {
  name       = var.name
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_db_parameter_group" "postgres" {
  name_prefix = "${var.name}-postgres${var.postgres_version}-"
  family      = "postgres${var.postgres_version}"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # Log schema changes, and statements that take longer than a second. Not every statement: predictions would fill the log.
  parameter {
    name  = "log_statement"
    value = "ddl"
  }

  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }

  # A major version has a group of its own, which must exist before the database leaves the old one.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "postgres" {
  # checkov:skip=CKV_AWS_157:A second instance doubles the price; while this one restarts, the service writes predictions to the spool
  # checkov:skip=CKV_AWS_118:The alarms below use CloudWatch's standard metrics, one a minute
  # checkov:skip=CKV_AWS_353:Performance Insights does not run on the smallest instances; slow statements are in the log
  identifier     = var.name
  engine         = "postgres"
  engine_version = tostring(var.postgres_version) # the newest minor version, which is compatible
  instance_class = var.database_class

  allocated_storage     = var.database_gb
  max_allocated_storage = 5 * var.database_gb # a full disk stops everything
  storage_type          = "gp3"
  storage_encrypted     = true
  kms_key_id            = aws_kms_key.data.arn

  # RDS and Secrets Manager create, store and rotate the administrator's password every week: it is not in the state.
  # Programs have their own users (see README.md), so its rotation does not affect them.
  username                            = "ontime_admin"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = aws_kms_key.data.arn
  iam_database_authentication_enabled = true # for people: a token that is valid for 15 minutes instead of a password

  db_subnet_group_name   = aws_db_subnet_group.private.name
  parameter_group_name   = aws_db_parameter_group.postgres.name
  vpc_security_group_ids = [aws_security_group.of["database"].id]
  publicly_accessible    = false
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  # At night, before the daily monitoring at five (09:00 or 10:00 UTC).
  backup_retention_period    = var.backup_days
  backup_window              = "07:00-07:30"
  maintenance_window         = "mon:07:30-mon:08:30"
  auto_minor_version_upgrade = true

  # A major upgrade stops the database for minutes and has no way back but a backup: allow it for one `apply`.
  allow_major_version_upgrade = var.allow_major_upgrade
  copy_tags_to_snapshot       = true

  deletion_protection       = var.protected
  skip_final_snapshot       = !var.protected
  final_snapshot_identifier = "${var.name}-last"

  enabled_cloudwatch_logs_exports = ["postgresql"]
  depends_on                      = [aws_cloudwatch_log_group.of] # RDS would create its own, which never expires

  # `terraform destroy` is refused when it plans. `deletion_protection` refuses later, when other parts are already gone.
  lifecycle {
    prevent_destroy = true
  }
}

# The files that a task finds in /run/secrets, as one JSON object of names and contents. Terraform creates empty secrets:
# their contents would be in its state.
resource "aws_secretsmanager_secret" "files" {
  # checkov:skip=CKV2_AWS_57:Only the administrator's password rotates; a program's is changed by hand, with a new deployment
  for_each                = toset(["service", "worker"])
  name                    = "${var.name}/${each.key}"
  description             = "The files of ${each.key} in /run/secrets"
  kms_key_id              = aws_kms_key.data.arn
  recovery_window_in_days = var.protected ? 30 : 0
}
