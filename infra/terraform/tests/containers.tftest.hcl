# The tasks' containers. Applied to the mock, because a task definition refers to values that are known only then.

mock_provider "aws" {
  mock_resource "aws_ecr_repository" {
    defaults = { repository_url = "registry.example/image" }
  }
}

run "no_program_is_root_and_none_has_a_secret_in_its_environment" {
  assert {
    condition = alltrue(flatten([for task in [aws_ecs_task_definition.service, aws_ecs_task_definition.worker] : [
      for container in jsondecode(task.container_definitions) :
      container.name == "prepare" || (try(container.user, "") == "" && try(container.secrets, []) == [])
    ]]))
    error_message = "Only prepare may be root, and only it is handed secrets."
  }

  assert {
    condition = alltrue(flatten([for task in [aws_ecs_task_definition.service, aws_ecs_task_definition.worker] : [
      for container in jsondecode(task.container_definitions) : !container.essential if container.name == "prepare"
    ]]))
    error_message = "A task would end with prepare."
  }
}

run "the_service_can_write_nowhere_but_to_its_spool_and_tmp" {
  assert {
    condition = {
      for container in jsondecode(aws_ecs_task_definition.service.container_definitions) :
      container.name => [for mount in container.mountPoints : mount.containerPath if !mount.readOnly] if container.name == "serve"
    } == { serve = ["/app/var/spool", "/tmp"] }
    error_message = "The service can write elsewhere."
  }

  assert {
    condition     = alltrue([for container in jsondecode(aws_ecs_task_definition.service.container_definitions) : container.readonlyRootFilesystem])
    error_message = "A container's root can be written to."
  }

  assert {
    condition     = anytrue([for volume in aws_ecs_task_definition.service.volume : volume.name == "spool" && length(volume.efs_volume_configuration) == 1])
    error_message = "The spool goes with its task."
  }
}

run "the_service_waits_for_its_first_release" {
  assert {
    condition = {
      for container in jsondecode(aws_ecs_task_definition.service.container_definitions) :
      container.name => [for before in try(container.dependsOn, []) : "${before.containerName} ${before.condition}"]
      } == {
      prepare    = []
      first-pull = ["prepare SUCCESS"]
      mirror     = ["first-pull SUCCESS"]
      serve      = ["first-pull SUCCESS"]
    }
    error_message = "The containers start in another order."
  }
}

run "every_mount_has_its_volume" {
  assert {
    condition = alltrue([for task in [aws_ecs_task_definition.service, aws_ecs_task_definition.worker] :
      toset([for volume in task.volume : volume.name]) == toset(flatten([
        for container in jsondecode(task.container_definitions) : [for mount in container.mountPoints : mount.sourceVolume]
      ]))
    ])
    error_message = "A mount names no volume, or a volume is mounted by nobody."
  }
}

run "what_runs_are_the_digests_that_were_asked_for" {
  assert {
    condition = {
      for container in jsondecode(aws_ecs_task_definition.service.container_definitions) : container.name => container.image
      } == {
      prepare    = "registry.example/image@${var.image_digests.mirror}"
      first-pull = "registry.example/image@${var.image_digests.mirror}"
      mirror     = "registry.example/image@${var.image_digests.mirror}"
      serve      = "registry.example/image@${var.image_digests.serve}"
    }
    error_message = "A container runs another image."
  }

  assert {
    condition = alltrue([for container in jsondecode(aws_ecs_task_definition.worker.container_definitions) :
      container.image == "registry.example/image@${var.image_digests.worker}"
    ])
    error_message = "A job runs another image."
  }
}

run "the_clock_starts_each_job_by_new_yorks_time" {
  assert {
    condition = { for name, job in aws_scheduler_schedule.job : name => job.schedule_expression_timezone } == {
      for name in ["materialise", "monitor", "prune", "backup", "retrain"] : name => "America/New_York"
    }
    error_message = "Other jobs, or by another clock."
  }

  assert {
    condition = alltrue([for name, job in aws_scheduler_schedule.job :
      strcontains(jsonencode(jsondecode(one(job.target).input).containerOverrides[0].command), "ontime ${name}")
    ])
    error_message = "A job runs another pipeline than its name says."
  }
}

run "a_job_ends_and_never_runs_beside_itself" {
  assert {
    condition = alltrue([for name, job in aws_scheduler_schedule.job :
      slice(jsondecode(one(job.target).input).containerOverrides[0].command, 0, 2) == ["timeout", "--kill-after=30"]
      && strcontains(join(" ", jsondecode(one(job.target).input).containerOverrides[0].command), "ontime.locks var/${name}.lock")
    ])
    error_message = "A job has no deadline, or another one may run beside it."
  }

  assert {
    condition     = tonumber(jsondecode(one(aws_scheduler_schedule.job["materialise"].target).input).containerOverrides[0].command[2]) < 15 * 60
    error_message = "The quarter-hourly job is still running when the next is due."
  }
}

run "a_start_that_fails_is_kept_and_reported" {
  assert {
    condition     = alltrue([for job in aws_scheduler_schedule.job : one(one(job.target).dead_letter_config).arn == aws_sqs_queue.not_started.arn])
    error_message = "A start that fails is lost."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.of["job-not-started"].dimensions["QueueName"] == aws_sqs_queue.not_started.name
    error_message = "Nobody is told of a message in the queue."
  }

  assert {
    condition = alltrue([for name in ["job-refused", "job-dropped"] :
      aws_cloudwatch_metric_alarm.of[name].dimensions["ScheduleGroup"] == one(distinct([for job in aws_scheduler_schedule.job : job.group_name]))
    ])
    error_message = "The alarm counts the schedules of another group."
  }
}

run "tasks_have_tags" {
  assert {
    condition = aws_ecs_service.main.propagate_tags == "SERVICE" && alltrue([for job in aws_scheduler_schedule.job :
      one(one(job.target).ecs_parameters).propagate_tags == "TASK_DEFINITION"
    ])
    error_message = "The bill of the tasks cannot be split."
  }
}

run "a_version_that_answers_with_errors_is_rolled_back" {
  assert {
    condition     = one(aws_ecs_service.main.alarms).enable && one(aws_ecs_service.main.alarms).rollback && contains(one(aws_ecs_service.main.alarms).alarm_names, aws_cloudwatch_metric_alarm.faults.alarm_name)
    error_message = "The deployment does not watch its faults."
  }
}

run "the_autoscaler_stays_between_the_sizes_that_were_asked_for" {
  assert {
    condition     = [aws_appautoscaling_target.service[0].min_capacity, aws_appautoscaling_target.service[0].max_capacity] == [2, 8]
    error_message = "Other sizes."
  }
}
