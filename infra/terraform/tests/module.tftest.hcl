# The module's plan with a mock of AWS: `terraform test`. It creates nothing and needs no account.

mock_provider "aws" {}

run "every_bucket_is_private_encrypted_and_versioned" {
  command = plan

  assert {
    condition     = toset(keys(aws_s3_bucket.store)) == toset(["backups", "dvc", "mlflow", "releases"])
    error_message = "There are four buckets."
  }

  assert {
    condition = alltrue([for name, bucket in aws_s3_bucket.store : alltrue([
      aws_s3_bucket_public_access_block.store[name].block_public_acls,
      aws_s3_bucket_public_access_block.store[name].block_public_policy,
      aws_s3_bucket_public_access_block.store[name].ignore_public_acls,
      aws_s3_bucket_public_access_block.store[name].restrict_public_buckets,
    ])])
    error_message = "A bucket can be made public."
  }

  assert {
    condition     = alltrue([for name, bucket in aws_s3_bucket.store : one(aws_s3_bucket_versioning.store[name].versioning_configuration).status == "Enabled"])
    error_message = "A bucket does not keep overwritten versions."
  }

  assert {
    condition = alltrue([for name, bucket in aws_s3_bucket.store :
      one(one(aws_s3_bucket_server_side_encryption_configuration.store[name].rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"
    ])
    error_message = "A bucket is not encrypted with our key."
  }

  assert {
    condition     = !anytrue([for name, bucket in aws_s3_bucket.store : bucket.force_destroy])
    error_message = "A bucket would be destroyed with all that is in it."
  }
}

run "the_database_is_private_encrypted_and_backed_up_and_nobody_knows_its_password" {
  command = plan

  assert {
    condition     = !aws_db_instance.postgres.publicly_accessible && aws_db_instance.postgres.storage_encrypted
    error_message = "The database is reachable from outside, or not encrypted."
  }

  assert {
    condition     = aws_db_instance.postgres.manage_master_user_password && aws_db_instance.postgres.password == null
    error_message = "The database's password is in the configuration."
  }

  assert {
    condition     = aws_db_instance.postgres.backup_retention_period == 14 && aws_db_instance.postgres.deletion_protection
    error_message = "The database is not backed up, or can be deleted."
  }

  assert {
    condition     = { for each in aws_db_parameter_group.postgres.parameter : each.name => each.value }["rds.force_ssl"] == "1"
    error_message = "The database takes connections without TLS."
  }
}

run "images_are_scanned_and_never_change" {
  command = plan

  assert {
    condition = alltrue([for image in aws_ecr_repository.image :
      image.image_tag_mutability == "IMMUTABLE" && one(image.image_scanning_configuration).scan_on_push
    ])
    error_message = "A tag can be moved, or an image is not scanned."
  }
}

run "callers_come_by_tls_only_and_only_from_where_they_may" {
  command = plan

  assert {
    condition     = aws_lb_listener.https.protocol == "HTTPS" && aws_lb_listener.https.port == 443
    error_message = "The balancer listens without TLS."
  }

  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.callers : "${rule.cidr_ipv4} ${rule.from_port}"] == ["203.0.113.0/24 443"]
    error_message = "Somebody else reaches the balancer."
  }
}

run "every_log_ends_and_every_alarm_is_heard" {
  command = plan

  assert {
    condition     = alltrue([for log in aws_cloudwatch_log_group.of : log.retention_in_days == 30])
    error_message = "A log never expires."
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.of) == 8 && aws_sns_topic_subscription.mail.endpoint == "desk@example.org"
    error_message = "Alarms go nowhere."
  }

  assert {
    condition     = toset([for each in aws_budgets_budget.month.notification : each.notification_type]) == toset(["ACTUAL", "FORECASTED"])
    error_message = "Nobody is notified of the monthly cost."
  }
}

run "faults_are_a_share_of_the_requests_of_five_minutes" {
  command = plan

  assert {
    condition = { for query in aws_cloudwatch_metric_alarm.faults.metric_query : query.id => [for metric in query.metric : "${metric.metric_name} ${metric.period}"] } == {
      percent  = []
      faults   = ["HTTPCode_Target_5XX_Count 300"]
      requests = ["RequestCount 300"]
    }
    error_message = "The alarm counts something else."
  }
}

run "the_buckets_are_reached_without_the_internet" {
  command = plan

  assert {
    condition     = aws_vpc_endpoint.s3.service_name == "com.amazonaws.us-east-1.s3" && aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway"
    error_message = "There is no endpoint of S3 in the network."
  }
}

run "a_major_version_is_allowed_only_on_purpose" {
  command = plan

  variables {
    postgres_version = 18
  }

  assert {
    condition     = !aws_db_instance.postgres.allow_major_version_upgrade && aws_db_instance.postgres.engine_version == "18" && aws_db_parameter_group.postgres.family == "postgres18"
    error_message = "A larger number alone upgrades the database, or its parameters are for another version."
  }
}

run "everything_can_be_destroyed_without_protection" {
  command = plan

  variables {
    protected = false
  }

  assert {
    condition = alltrue(concat(
      [for bucket in aws_s3_bucket.store : bucket.force_destroy],
      [!aws_db_instance.postgres.deletion_protection, !aws_lb.main.enable_deletion_protection],
    ))
    error_message = "`terraform destroy` would stop half-way."
  }
}

run "before_there_are_images_nothing_runs" {
  command = plan

  variables {
    service = { tasks = 0 }
  }

  assert {
    condition     = aws_ecs_service.main.desired_count == 0 && alltrue([for job in aws_scheduler_schedule.job : job.state == "DISABLED"]) && length(aws_appautoscaling_target.service) == 0
    error_message = "Tasks would be started that cannot start."
  }
}
