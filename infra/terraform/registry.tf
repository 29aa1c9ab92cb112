# A repository for each image, with copies of the releases in GHCR: tasks pull with their own role and without a password,
# and start while GitHub is down. GitHub pushes (roles.tf), tasks pull.

resource "aws_ecr_repository" "image" {
  for_each             = toset(["serve", "mirror", "worker"])
  name                 = "${var.name}-${each.key}"
  image_tag_mutability = "IMMUTABLE" # so that a version is always the images that were tested
  force_delete         = !var.protected

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.data.arn
  }
}

resource "aws_ecr_lifecycle_policy" "image" {
  for_each   = aws_ecr_repository.image
  repository = each.value.name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "Untagged images"
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 7 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "Keep thirty versions for rollbacks"
        selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 30 }
        action       = { type = "expire" }
      },
    ]
  })
}
