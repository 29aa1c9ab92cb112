# One small PostgreSQL with a database for ontime and one for MLflow.

resource "aws_db_subnet_group" "private" {
  name       = var.name
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_db_parameter_group" "postgres" {
  name   = "${var.name}-postgres17"
  family = "postgres17"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # Who changed a table, and what took longer than a second. Not every statement: predictions would fill the log.
  parameter {
    name  = "log_statement"
    value = "ddl"
  }

  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }
}

resource "aws_db_instance" "postgres" {
  # checkov:skip=CKV_AWS_157:A second instance doubles the price; while this one restarts, the service keeps its answers in the spool
  # checkov:skip=CKV_AWS_118:CloudWatch's own figures, each minute, are what the alarms below look at
  # checkov:skip=CKV_AWS_353:Performance Insights has no place on the smallest instances; slow statements are in the log
  identifier     = var.name
  engine         = "postgres"
  engine_version = "17" # the newest 17.x; a minor version never breaks, a major one is a decision
  instance_class = var.database_class

  allocated_storage     = var.database_gb
  max_allocated_storage = 5 * var.database_gb # a full disk stops everything
  storage_type          = "gp3"
  storage_encrypted     = true
  kms_key_id            = aws_kms_key.data.arn

  # The password is made, kept and changed every week by RDS and Secrets Manager: nobody sees it, no state holds it.
  # It is the administrator's. Programs have users of their own (see README.md), so its change disturbs none.
  username                            = "ontime_admin"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = aws_kms_key.data.arn
  iam_database_authentication_enabled = true # for people: a token for a quarter of an hour instead of a password

  db_subnet_group_name   = aws_db_subnet_group.private.name
  parameter_group_name   = aws_db_parameter_group.postgres.name
  vpc_security_group_ids = [aws_security_group.of["database"].id]
  publicly_accessible    = false
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  # It is night, and the day's monitoring is not due before half past five (09:30 or 10:30 UTC).
  backup_retention_period    = var.backup_days
  backup_window              = "07:00-07:30"
  maintenance_window         = "mon:07:30-mon:08:30"
  auto_minor_version_upgrade = true
  copy_tags_to_snapshot      = true

  deletion_protection       = var.protected
  skip_final_snapshot       = !var.protected
  final_snapshot_identifier = "${var.name}-last"

  enabled_cloudwatch_logs_exports = ["postgresql"]
  depends_on                      = [aws_cloudwatch_log_group.of] # RDS would make its own, which is kept for ever
}

# The files that a task finds in /run/secrets, as one JSON object of names and contents. Only the shells are made here:
# what Terraform wrote into them would be in its state.
resource "aws_secretsmanager_secret" "files" {
  # checkov:skip=CKV2_AWS_57:What rotates is the administrator's password; a program's user is changed by hand, with a new deployment
  for_each                = toset(["service", "worker"])
  name                    = "${var.name}/${each.key}"
  description             = "The files of ${each.key} in /run/secrets"
  kms_key_id              = aws_kms_key.data.arn
  recovery_window_in_days = var.protected ? 30 : 0
}
