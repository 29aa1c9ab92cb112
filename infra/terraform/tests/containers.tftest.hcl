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

run "the_clock_starts_three_jobs_by_new_yorks_time" {
  assert {
    condition     = { for name, job in aws_scheduler_schedule.job : name => job.schedule_expression_timezone } == { for name in ["materialise", "monitor", "retrain"] : name => "America/New_York" }
    error_message = "Other jobs, or by another clock."
  }

  assert {
    condition = alltrue([for name, job in aws_scheduler_schedule.job :
      strcontains(one(jsondecode(one(job.target).input).containerOverrides[0].command), "ontime ${name}")
    ])
    error_message = "A job runs another pipeline than its name says."
  }
}

run "before_there_are_images_nothing_runs" {
  variables {
    service = { tasks = 0 }
  }

  assert {
    condition     = aws_ecs_service.main.desired_count == 0 && alltrue([for job in aws_scheduler_schedule.job : job.state == "DISABLED"])
    error_message = "Tasks would be started that cannot start."
  }
}
