# Logs, alarms and the budget.

resource "aws_cloudwatch_log_group" "of" {
  # checkov:skip=CKV_AWS_338:A year of logs costs money and nobody reads it; decisions and predictions are in the database
  for_each = {
    service  = "/${var.name}/service"
    worker   = "/${var.name}/worker"
    database = "/aws/rds/instance/${var.name}/postgresql" # RDS's name for it
  }
  name              = each.value
  retention_in_days = var.log_days
  kms_key_id        = aws_kms_key.data.arn
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = aws_kms_key.data.arn
}

resource "aws_sns_topic_subscription" "mail" {
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarms.arn
        Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
      },
      {
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" } # without a condition, like the key's policy
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarms.arn
      },
    ]
  })
}

locals {
  of_balancer = { LoadBalancer = aws_lb.main.arn_suffix }
  of_targets  = { LoadBalancer = aws_lb.main.arn_suffix, TargetGroup = aws_lb_target_group.service.arn_suffix }
  of_jobs     = { ScheduleGroup = aws_scheduler_schedule_group.jobs.name }
  of_database = { DBInstanceIdentifier = aws_db_instance.postgres.identifier }

  # Alarms on which a person can act at once. The monitor watches data and model, and posts its alerts to the address in the
  # worker's secret `ontime_webhook` (README.md, step 6).
  alarms = {
    nobody-answers = {
      about     = "No task is ready: see the service's events and its log"
      space     = "AWS/ApplicationELB", metric = "HealthyHostCount", of = local.of_targets
      statistic = "Minimum", is = "LessThanThreshold", than = 1, minutes = 2, silence = "breaching"
    }
    no-response = {
      about     = "The balancer itself answered 5xx: no task was ready, or one closed the connection or was too slow"
      space     = "AWS/ApplicationELB", metric = "HTTPCode_ELB_5XX_Count", of = local.of_balancer
      statistic = "Sum", is = "GreaterThanThreshold", than = 5, minutes = 2, silence = "notBreaching"
    }
    slow = {
      about     = "The p99 latency is above one second: check the load of the database"
      space     = "AWS/ApplicationELB", metric = "TargetResponseTime", of = local.of_balancer
      statistic = "p99", is = "GreaterThanThreshold", than = 1, minutes = 10, silence = "notBreaching"
    }
    database-full = {
      about     = "Less than 2 GB are free: find the tables that grow"
      space     = "AWS/RDS", metric = "FreeStorageSpace", of = local.of_database
      statistic = "Minimum", is = "LessThanThreshold", than = 2000000000, minutes = 15, silence = "missing"
    }
    database-busy = {
      about     = "PostgreSQL has been busy for 15 minutes: look for slow statements in its log"
      space     = "AWS/RDS", metric = "CPUUtilization", of = local.of_database
      statistic = "Average", is = "GreaterThanThreshold", than = 80, minutes = 15, silence = "missing"
    }
    job-refused = {
      about     = "AWS refused to start a job, and tries again: see the role `clock` and the task definition"
      space     = "AWS/Scheduler", metric = "TargetErrorCount", of = local.of_jobs
      statistic = "Sum", is = "GreaterThanThreshold", than = 0, minutes = 1, silence = "notBreaching"
    }
    job-dropped = {
      about     = "A start of a job was given up: run the job by hand"
      space     = "AWS/Scheduler", metric = "InvocationDroppedCount", of = local.of_jobs
      statistic = "Sum", is = "GreaterThanThreshold", than = 0, minutes = 1, silence = "notBreaching"
    }
    job-not-started = {
      about     = "A job did not start: the message in the queue has the reason; delete it when it is mended"
      space     = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", of = { QueueName = aws_sqs_queue.not_started.name }
      statistic = "Maximum", is = "GreaterThanThreshold", than = 0, minutes = 1, silence = "notBreaching"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "of" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.about
  namespace           = each.value.space
  metric_name         = each.value.metric
  dimensions          = each.value.of
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = each.value.is
  threshold           = each.value.than
  period              = 60
  evaluation_periods  = each.value.minutes
  datapoints_to_alarm = each.value.minutes
  treat_missing_data  = each.value.silence
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# A share, because a count is too much at high traffic and too little at low. Three faults at least: one is no reason to
# wake somebody, or to undo a deployment.
resource "aws_cloudwatch_metric_alarm" "faults" {
  alarm_name          = "${var.name}-faults"
  alarm_description   = "More than 1 % of the requests of five minutes were answered 5xx by the service: see its log"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 1
  evaluation_periods  = 1
  datapoints_to_alarm = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "percent"
    expression  = "IF(FILL(faults, 0) >= 3, 100 * FILL(faults, 0) / requests, 0)"
    label       = "Faults, percent"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { faults = "HTTPCode_Target_5XX_Count", requests = "RequestCount" }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = metric_query.value
        dimensions  = local.of_balancer
        period      = 300
        stat        = "Sum"
      }
    }
  }
}

# A failed job has no metric, only an event.
resource "aws_cloudwatch_event_rule" "job_failed" {
  name        = "${var.name}-job-failed"
  description = "A task of the worker ended with an error, or could not be started"

  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Task State Change"]
    detail = {
      lastStatus        = ["STOPPED"]
      taskDefinitionArn = [{ prefix = "${aws_ecs_task_definition.worker.arn_without_revision}:" }]
      "$or" = [
        { containers = { exitCode = [{ anything-but = 0 }] } },
        { stopCode = ["TaskFailedToStart"] },
      ]
    }
  })
}

resource "aws_cloudwatch_event_target" "job_failed" {
  rule = aws_cloudwatch_event_rule.job_failed.name
  arn  = aws_sns_topic.alarms.arn
}

# Of the whole account: a budget by tag counts nothing until the tag is activated for billing by hand.
resource "aws_budgets_budget" "month" {
  name         = "${var.name}-month"
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"

  notification {
    notification_type          = "ACTUAL"
    comparison_operator        = "GREATER_THAN"
    threshold                  = 80
    threshold_type             = "PERCENTAGE"
    subscriber_email_addresses = [var.alarm_email]
  }

  notification {
    notification_type          = "FORECASTED"
    comparison_operator        = "GREATER_THAN"
    threshold                  = 100
    threshold_type             = "PERCENTAGE"
    subscriber_email_addresses = [var.alarm_email]
  }
}
