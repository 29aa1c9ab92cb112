# Public and private subnets in two zones. The load balancer and the tasks are in the public ones, data in the private ones.
#
# Tasks have public addresses so that they reach AWS's services without a NAT gateway, which would cost more than the
# tasks. Nobody can connect to those addresses: their security groups allow only the load balancer.

locals {
  network = "10.20.0.0/16"

  # The allowed connections. All others are denied.
  connections = {
    "balancer to service" = { from = "balancer", to = "service", port = 8000 }
    "service to database" = { from = "service", to = "database", port = 5432 }
    "worker to database"  = { from = "worker", to = "database", port = 5432 }
    "service to files"    = { from = "service", to = "files", port = 2049 }
    "worker to files"     = { from = "worker", to = "files", port = 2049 }
  }
}

resource "aws_vpc" "main" {
  # checkov:skip=CKV2_AWS_11:With five allowed connections, flow logs would repeat the logs of load balancer and database
  cidr_block           = local.network
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# Anything in this network without its own security group cannot connect to anything.
resource "aws_default_security_group" "nobody" {
  vpc_id = aws_vpc.main.id
}

resource "aws_subnet" "public" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  availability_zone = "${var.region}${var.zones[count.index]}"
  cidr_block        = cidrsubnet(local.network, 8, count.index)
  tags              = { Name = "${var.name}-public-${count.index}" }
}

resource "aws_subnet" "private" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  availability_zone = "${var.region}${var.zones[count.index]}"
  cidr_block        = cidrsubnet(local.network, 8, 128 + count.index)
  tags              = { Name = "${var.name}-private-${count.index}" }
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id
}

resource "aws_route" "out" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.main.id
}

# To the buckets, and to the layers of images, which are in one: free, and not over the internet.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.main.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.public.id]
}

# The private subnets use the main route table, which has no route out of the network.
resource "aws_route_table_association" "public" {
  count          = 2
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_security_group" "of" {
  # checkov:skip=CKV2_AWS_5:They are attached with for_each, which checkov does not evaluate
  for_each    = toset(["balancer", "service", "worker", "database", "files"])
  name        = "${var.name}-${each.key}"
  description = "The ${each.key} of ${var.name}"
  vpc_id      = aws_vpc.main.id
}

resource "aws_vpc_security_group_egress_rule" "inside" {
  for_each                     = local.connections
  description                  = each.key
  security_group_id            = aws_security_group.of[each.value.from].id
  referenced_security_group_id = aws_security_group.of[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "inside" {
  for_each                     = local.connections
  description                  = each.key
  security_group_id            = aws_security_group.of[each.value.to].id
  referenced_security_group_id = aws_security_group.of[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "callers" {
  for_each          = var.callers
  description       = "Callers, by TLS"
  security_group_id = aws_security_group.of["balancer"].id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# For images, buckets, secrets and logs: AWS's services have no fixed addresses.
resource "aws_vpc_security_group_egress_rule" "to_aws" {
  for_each          = toset(["service", "worker"])
  description       = "AWS services, by TLS"
  security_group_id = aws_security_group.of[each.key].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
