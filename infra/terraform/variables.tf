# Required variables, for which no default would be right for everyone.

variable "account_id" {
  description = "The AWS account; changes to any other are rejected"
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id is twelve digits: `aws sts get-caller-identity --query Account --output text` prints yours."
  }
}

variable "certificate_arn" {
  description = "The certificate of the service's host name, in AWS Certificate Manager"
  type        = string

  validation {
    condition     = startswith(var.certificate_arn, "arn:aws:acm:${var.region}:${var.account_id}:certificate/")
    error_message = "certificate_arn must be a certificate of this account in ${var.region}: a load balancer can use no other."
  }
}

variable "callers" {
  description = "The IPv4 ranges that may connect to the service"
  type        = set(string)

  validation {
    condition     = length(var.callers) > 0 && alltrue([for range in var.callers : can(cidrnetmask(range))])
    error_message = "callers is a list of at least one IPv4 range such as 203.0.113.0/24; the whole internet is 0.0.0.0/0."
  }
}

variable "github_repository" {
  description = "The GitHub repository whose deployments to the environment production may push images, as written in GitHub's tokens"
  type        = string

  # An abandoned name can be registered by somebody else; the ids, which GitHub adds since July 2026, cannot.
  validation {
    condition     = can(regex("^[A-Za-z0-9-]+(@[0-9]+)?/[A-Za-z0-9._-]+(@[0-9]+)?$", var.github_repository))
    error_message = "github_repository is OWNER@ID/NAME@ID, for a repository made before July 2026 OWNER/NAME: README.md says how to find it."
  }
}

variable "image_digests" {
  description = "The digests of the images that are deployed, by name: serve, mirror, worker"
  type        = object({ serve = string, mirror = string, worker = string })

  # Not tags: a digest is the same in GHCR, where the release is built and signed, and in ECR, from where tasks pull it.
  validation {
    condition     = alltrue([for digest in values(var.image_digests) : can(regex("^sha256:[0-9a-f]{64}$", digest))])
    error_message = "image_digests has a digest (sha256:...) for serve, mirror and worker, as in images.txt of a release: README.md says how to convert it."
  }
}

variable "alarm_email" {
  description = "The mail address for alarms and budget notifications"
  type        = string

  validation {
    condition     = can(regex("^[^@ ]+@[^@ ]+[.][^@ ]+$", var.alarm_email))
    error_message = "alarm_email must be one mail address."
  }
}

# Optional variables.

variable "name" {
  description = "The prefix of all names"
  type        = string
  default     = "ontime"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}[a-z0-9]$", var.name))
    error_message = "name has 3 to 16 lower-case letters, digits and hyphens: buckets and load balancers allow no more."
  }
}

variable "region" {
  description = "The AWS region"
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}-[a-z]+-[0-9]$", var.region))
    error_message = "region is one of AWS's, such as eu-central-1."
  }
}

variable "zones" {
  description = "The letters of two of the region's zones: a load balancer and a database need two"
  type        = list(string)
  default     = ["a", "b"] # explicit, because a lookup would move subnets when AWS opens a zone

  validation {
    condition     = length(distinct(var.zones)) == 2 && alltrue([for zone in var.zones : can(regex("^[a-z]$", zone))])
    error_message = "zones are two different letters; `aws ec2 describe-availability-zones` lists them."
  }
}

variable "service" {
  description = "The number of service tasks, and the size of each in 1/1024 CPU and MiB; with 0 tasks, nothing runs"
  type = object({
    tasks     = optional(number, 2) # at least: one in each zone, so that half remain if a zone fails
    max_tasks = optional(number, 8)
    cpu       = optional(number, 512)
    memory    = optional(number, 1024)
  })
  default = {}

  validation {
    condition     = var.service.tasks >= 0 && var.service.tasks <= 20 && floor(var.service.tasks) == var.service.tasks
    error_message = "service.tasks is a whole number from 0 to 20."
  }

  validation {
    condition     = var.service.max_tasks >= var.service.tasks && var.service.max_tasks <= 100 && floor(var.service.max_tasks) == var.service.max_tasks
    error_message = "service.max_tasks is a whole number from service.tasks to 100."
  }

  validation {
    condition     = contains([256, 512, 1024, 2048, 4096], var.service.cpu) && var.service.memory >= 2 * var.service.cpu && var.service.memory <= 8 * var.service.cpu
    error_message = "service.cpu is 256, 512, 1024, 2048 or 4096, and service.memory 2 to 8 times as much: Fargate has no other sizes."
  }
}

variable "database_class" {
  description = "The instance class of PostgreSQL"
  type        = string
  default     = "db.t4g.micro"

  validation {
    condition     = startswith(var.database_class, "db.")
    error_message = "database_class is one of RDS's, such as db.t4g.micro."
  }
}

variable "postgres_version" {
  description = "The major version of PostgreSQL"
  type        = number
  default     = 17

  validation {
    condition     = var.postgres_version >= 17 && floor(var.postgres_version) == var.postgres_version
    error_message = "postgres_version is a major version, 17 or newer: PostgreSQL cannot go back to an older one."
  }
}

variable "allow_major_upgrade" {
  description = "Whether a larger postgres_version may be applied; set it for that one `apply`, after a backup"
  type        = bool
  default     = false
}

variable "database_gb" {
  description = "The size of PostgreSQL's disk in GB; it grows automatically to five times as much"
  type        = number
  default     = 20

  validation {
    condition     = var.database_gb >= 20
    error_message = "database_gb is at least 20, the minimum of this disk type."
  }
}

variable "backup_days" {
  description = "The number of past days to which PostgreSQL can be restored, to the second"
  type        = number
  default     = 14

  validation {
    condition     = var.backup_days >= 7 && var.backup_days <= 35
    error_message = "backup_days is 7 to 35: with fewer, data may be gone before a loss is noticed; RDS keeps no more."
  }
}

variable "log_days" {
  description = "The retention of logs in days"
  type        = number
  default     = 30

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365], var.log_days)
    error_message = "log_days is 7, 14, 30, 60, 90, 180 or 365: CloudWatch allows no other."
  }
}

variable "monthly_budget_usd" {
  description = "The monthly cost in US dollars at which alarm_email is notified"
  type        = number
  default     = 150

  validation {
    condition     = var.monthly_budget_usd >= 1
    error_message = "monthly_budget_usd is at least 1."
  }
}

variable "protected" {
  description = "Whether AWS refuses to delete what has data; README.md says how to remove everything"
  type        = bool
  default     = true
}
