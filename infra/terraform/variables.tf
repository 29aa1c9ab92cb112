# What you must say: it has no default, because any default would be wrong for somebody.

variable "account_id" {
  description = "The AWS account that this may change, and no other"
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id is twelve digits: `aws sts get-caller-identity --query Account --output text` tells yours."
  }
}

variable "certificate_arn" {
  description = "The certificate of the service's host name, in AWS Certificate Manager"
  type        = string

  validation {
    condition     = startswith(var.certificate_arn, "arn:aws:acm:${var.region}:${var.account_id}:certificate/")
    error_message = "certificate_arn must be a certificate of this account in ${var.region}: a balancer can use no other."
  }
}

variable "callers" {
  description = "Who may reach the service, as IPv4 ranges"
  type        = set(string)

  validation {
    condition     = length(var.callers) > 0 && alltrue([for range in var.callers : can(cidrnetmask(range))])
    error_message = "callers are IPv4 ranges such as 203.0.113.0/24, one at least; the whole world is 0.0.0.0/0."
  }
}

variable "github_repository" {
  description = "Whose workflow on main may push images, as GitHub writes it in its tokens"
  type        = string

  # Names alone can be taken over when they are given up; since July 2026 GitHub adds the numbers, which cannot.
  validation {
    condition     = can(regex("^[A-Za-z0-9-]+(@[0-9]+)?/[A-Za-z0-9._-]+(@[0-9]+)?$", var.github_repository))
    error_message = "github_repository is OWNER@ID/NAME@ID, for a repository made before July 2026 OWNER/NAME: README.md says how to find it."
  }
}

variable "image_tag" {
  description = "The commit whose images run"
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{7,40}$", var.image_tag))
    error_message = "image_tag is a commit's hash: a word such as latest means something else every day, and nobody can roll back to it."
  }
}

variable "alarm_email" {
  description = "Who is told when something breaks or costs too much"
  type        = string

  validation {
    condition     = can(regex("^[^@ ]+@[^@ ]+[.][^@ ]+$", var.alarm_email))
    error_message = "alarm_email is one mail address."
  }
}

# What has a default.

variable "name" {
  description = "What everything's name begins with"
  type        = string
  default     = "ontime"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}[a-z0-9]$", var.name))
    error_message = "name has 3 to 16 lower-case letters, digits and hyphens: buckets and balancers allow no more."
  }
}

variable "region" {
  description = "Where everything is"
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}-[a-z]+-[0-9]$", var.region))
    error_message = "region is one of AWS's, such as eu-central-1."
  }
}

variable "zones" {
  description = "The letters of two of the region's zones: a balancer and a database ask for two"
  type        = list(string)
  default     = ["a", "b"] # written down, not looked up: a zone that AWS opens tomorrow must not move subnets

  validation {
    condition     = length(distinct(var.zones)) == 2 && alltrue([for zone in var.zones : can(regex("^[a-z]$", zone))])
    error_message = "zones are two different letters; `aws ec2 describe-availability-zones` tells which there are."
  }
}

variable "service" {
  description = "How many tasks answer, and the size of each in 1/1024 CPU and MiB; with 0 tasks nothing runs yet"
  type = object({
    tasks  = optional(number, 2) # one in each zone: a zone that fails takes half away, not all
    cpu    = optional(number, 512)
    memory = optional(number, 1024)
  })
  default = {}

  validation {
    condition     = var.service.tasks >= 0 && var.service.tasks <= 20 && floor(var.service.tasks) == var.service.tasks
    error_message = "service.tasks is a whole number from 0 to 20."
  }

  validation {
    condition     = contains([256, 512, 1024, 2048, 4096], var.service.cpu) && var.service.memory >= 2 * var.service.cpu && var.service.memory <= 8 * var.service.cpu
    error_message = "service.cpu is 256, 512, 1024, 2048 or 4096, and service.memory 2 to 8 times as much: Fargate sells no other."
  }
}

variable "database_class" {
  description = "The size of PostgreSQL"
  type        = string
  default     = "db.t4g.micro"

  validation {
    condition     = startswith(var.database_class, "db.")
    error_message = "database_class is one of RDS's, such as db.t4g.micro."
  }
}

variable "database_gb" {
  description = "PostgreSQL's disk; it grows to five times as much by itself"
  type        = number
  default     = 20

  validation {
    condition     = var.database_gb >= 20
    error_message = "database_gb is 20 at least: the disks of this kind begin there."
  }
}

variable "backup_days" {
  description = "How many days back PostgreSQL can be restored, to the second"
  type        = number
  default     = 14

  validation {
    condition     = var.backup_days >= 7 && var.backup_days <= 35
    error_message = "backup_days is 7 to 35: less is lost before anybody looks, more RDS does not keep."
  }
}

variable "log_days" {
  description = "How long logs are kept"
  type        = number
  default     = 30

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365], var.log_days)
    error_message = "log_days is 7, 14, 30, 60, 90, 180 or 365: CloudWatch takes no other."
  }
}

variable "monthly_budget_usd" {
  description = "What a month may cost before somebody is told"
  type        = number
  default     = 150

  validation {
    condition     = var.monthly_budget_usd >= 1
    error_message = "monthly_budget_usd is 1 at least: a budget of nothing tells of nothing new."
  }
}

variable "protected" {
  description = "Whether `terraform destroy` is refused as long as there is data; set it to false, apply, then destroy"
  type        = bool
  default     = true
}
