# Invalid variables are rejected by name before a plan.

mock_provider "aws" {}

run "an_account_is_twelve_digits" {
  command = plan
  variables {
    account_id = "my-account"
  }
  expect_failures = [var.account_id]
}

run "a_certificate_of_another_region_is_refused" {
  command = plan
  variables {
    region = "eu-central-1"
  }
  expect_failures = [var.certificate_arn]
}

run "callers_are_ranges" {
  command = plan
  variables {
    callers = ["example.org"]
  }
  expect_failures = [var.callers]
}

run "somebody_has_to_be_let_in" {
  command = plan
  variables {
    callers = []
  }
  expect_failures = [var.callers]
}

run "a_repository_is_one_repository" {
  command = plan
  variables {
    github_repository = "octo/*"
  }
  expect_failures = [var.github_repository]
}

run "a_tag_is_no_digest" {
  command = plan
  variables {
    image_digests = { serve = "latest", mirror = "0.1.0", worker = "sha256:0123abc" }
  }
  expect_failures = [var.image_digests]
}

run "an_alarm_needs_a_mailbox" {
  command = plan
  variables {
    alarm_email = "nobody"
  }
  expect_failures = [var.alarm_email]
}

run "a_name_fits_into_every_service" {
  command = plan
  variables {
    name = "On Time"
  }
  expect_failures = [var.name]
}

run "a_region_is_one_of_awss" {
  command = plan
  variables {
    region = "europe"
  }
  expect_failures = [var.region]
}

run "zones_are_two" {
  command = plan
  variables {
    zones = ["a", "a"]
  }
  expect_failures = [var.zones]
}

run "a_task_has_a_size_that_fargate_sells" {
  command = plan
  variables {
    service = { cpu = 512, memory = 512 }
  }
  expect_failures = [var.service]
}

run "tasks_are_whole" {
  command = plan
  variables {
    service = { tasks = 1.5 }
  }
  expect_failures = [var.service]
}

run "a_database_has_a_class_of_rds" {
  command = plan
  variables {
    database_class = "t4g.micro"
  }
  expect_failures = [var.database_class]
}

run "a_database_has_twenty_gigabytes" {
  command = plan
  variables {
    database_gb = 5
  }
  expect_failures = [var.database_gb]
}

run "a_day_of_backups_is_too_little" {
  command = plan
  variables {
    backup_days = 1
  }
  expect_failures = [var.backup_days]
}

run "logs_are_kept_as_long_as_cloudwatch_can" {
  command = plan
  variables {
    log_days = 31
  }
  expect_failures = [var.log_days]
}

run "a_budget_is_more_than_nothing" {
  command = plan
  variables {
    monthly_budget_usd = 0
  }
  expect_failures = [var.monthly_budget_usd]
}

run "the_autoscaler_has_room" {
  command = plan
  variables {
    service = { tasks = 4, max_tasks = 3 }
  }
  expect_failures = [var.service]
}

run "postgresql_does_not_go_back" {
  command = plan
  variables {
    postgres_version = 16
  }
  expect_failures = [var.postgres_version]
}
