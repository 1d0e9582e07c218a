//! What lets packets in: prefix lists, security groups, network ACLs.

use aws_sdk_ec2::types::builders::IpPermissionBuilder;
use aws_sdk_ec2::types::{
    AddPrefixListEntry, IcmpTypeCode, IpPermission, IpRange, Ipv6Range, NetworkAclAssociation, PortRange,
    PrefixListId, ResourceType, RuleAction, UserIdGroupPair,
};
use conformance_tests::ACCOUNT;

use super::{NO_ACL, NO_GROUP, NO_PREFIX_LIST, NO_VPC, Network, Run, filter, named};

/// A prefix list of IPv4 ranges.
pub(super) async fn prefix_lists(run: &Run) -> String {
    let (ec2, at) = (&run.ec2, &run.steps);
    let entry = |range: &str, description: &str| {
        AddPrefixListEntry::builder()
            .cidr(range)
            .description(description)
            .build()
    };
    let list = at.need(
        ec2.create_managed_prefix_list()
            .prefix_list_name("offices")
            .address_family("IPv4")
            .max_entries(5)
            .entries(entry("192.0.2.0/24", "north"))
            .entries(entry("198.51.100.0/24", "south"))
            .tag_specifications(named(ResourceType::PrefixList, "offices"))
            .send()
            .await,
    );
    let list = list.prefix_list().unwrap().prefix_list_id().unwrap().to_owned();
    let six = ec2
        .create_managed_prefix_list()
        .prefix_list_name("six")
        .address_family("IPv6");
    let six = six
        .max_entries(1)
        .entries(AddPrefixListEntry::builder().cidr("2001:db8::/32").build());
    let six = at.need(six.send().await);
    let six = six.prefix_list().unwrap().prefix_list_id().unwrap().to_owned();

    at.need(
        ec2.describe_managed_prefix_lists()
            .prefix_list_ids(&list)
            .send()
            .await,
    );
    for by in [
        filter("prefix-list-id", &[&list, &six]),
        filter("prefix-list-name", &["six"]),
        filter("owner-id", &[ACCOUNT]),
    ] {
        at.need(ec2.describe_managed_prefix_lists().filters(by).send().await);
    }
    at.need(
        ec2.get_managed_prefix_list_entries()
            .prefix_list_id(&list)
            .send()
            .await,
    );
    at.need(
        ec2.get_managed_prefix_list_entries()
            .prefix_list_id(&six)
            .send()
            .await,
    );
    at.keep(
        ec2.describe_managed_prefix_lists()
            .prefix_list_ids(NO_PREFIX_LIST)
            .send()
            .await,
    );
    at.keep(
        ec2.get_managed_prefix_list_entries()
            .prefix_list_id(NO_PREFIX_LIST)
            .send()
            .await,
    );
    list
}

fn permission(protocol: &str, ports: Option<(i32, i32)>) -> IpPermissionBuilder {
    IpPermission::builder()
        .ip_protocol(protocol)
        .set_from_port(ports.map(|(from, _)| from))
        .set_to_port(ports.map(|(_, to)| to))
}

fn range(text: &str) -> IpRange {
    IpRange::builder().cidr_ip(text).build()
}

/// A group with rules of all kinds.
pub(super) async fn security_groups(run: &Run, network: &Network, list: &str) -> String {
    let (ec2, at) = (&run.ec2, &run.steps);
    let create = |name: &str, description: &str| {
        let create = ec2.create_security_group().vpc_id(&network.vpc);
        create.group_name(name).description(description)
    };
    let group = create("web", "the web").tag_specifications(named(ResourceType::SecurityGroup, "web"));
    let group = at.need(group.send().await).group_id().unwrap().to_owned();
    let source = at.need(create("source", "a source").send().await);
    let source = source.group_id().unwrap().to_owned();
    let unused = at
        .need(create("unused", "nobody's").send().await)
        .group_id()
        .unwrap()
        .to_owned();
    at.keep(create("web", "again").send().await);
    at.keep(create("web2", "elsewhere").vpc_id(NO_VPC).send().await);

    let described = async || {
        at.need(ec2.describe_security_groups().group_ids(&group).send().await);
    };
    described().await;
    let authorize = |permission: IpPermission| {
        ec2.authorize_security_group_ingress()
            .group_id(&group)
            .ip_permissions(permission)
    };
    let north = IpRange::builder()
        .cidr_ip("192.0.2.0/24")
        .description("north")
        .build();
    let six = Ipv6Range::builder()
        .cidr_ipv6("2001:db8::/32")
        .description("six")
        .build();
    let from = UserIdGroupPair::builder()
        .group_id(&source)
        .description("from the source")
        .build();
    let prefixes = PrefixListId::builder()
        .prefix_list_id(list)
        .description("listed")
        .build();
    let all = permission("-1", None).ip_ranges(range("10.0.0.0/8")).build();
    let https = permission("tcp", Some((443, 443)))
        .ip_ranges(north)
        .ip_ranges(range("203.0.113.7/32"))
        .build();
    let vxlan = permission("udp", Some((4789, 4789)))
        .user_id_group_pairs(from)
        .build();
    let wide = permission("tcp", Some((8000, 9000))).ipv6_ranges(six).build();
    let dns = permission("udp", Some((53, 53)))
        .prefix_list_ids(prefixes)
        .build();
    let ping = permission("icmp", Some((8, -1)))
        .ip_ranges(range("0.0.0.0/0"))
        .build();
    let by_number = permission("6", Some((22, 22)))
        .ip_ranges(range("10.1.2.3/32"))
        .build();
    for permission in [&all, &https, &vxlan, &wide, &dns, &ping, &by_number] {
        at.need(authorize(permission.clone()).send().await);
        described().await;
    }
    let short = ec2
        .authorize_security_group_ingress()
        .group_id(&group)
        .ip_protocol("tcp");
    at.need(
        short
            .from_port(80)
            .to_port(80)
            .cidr_ip("198.51.100.0/24")
            .send()
            .await,
    );
    described().await;
    at.keep(authorize(https.clone()).send().await);
    at.keep(
        authorize(
            permission("tcp", Some((1, 1)))
                .ip_ranges(range("nonsense"))
                .build(),
        )
        .send()
        .await,
    );
    let nobody = UserIdGroupPair::builder().group_id(NO_GROUP).build();
    let nobody = permission("tcp", Some((1, 1)))
        .user_id_group_pairs(nobody)
        .build();
    at.keep(authorize(nobody).send().await);
    at.keep(authorize(all.clone()).group_id(NO_GROUP).send().await);

    let by_port = || filter("ip-permission.from-port", &["443"]);
    for by in [
        filter("group-id", &[&group, &source]),
        filter("group-name", &["web", "source"]),
        filter("tag:Name", &["web"]),
        filter("description", &["a source"]),
        filter("ip-permission.cidr", &["192.0.2.0/24"]),
        by_port(),
        filter("ip-permission.protocol", &["udp"]),
        filter("ip-permission.group-id", &[&source]),
    ] {
        let of_vpc = filter("vpc-id", &[&network.vpc]);
        at.need(
            ec2.describe_security_groups()
                .filters(of_vpc)
                .filters(by)
                .send()
                .await,
        );
    }
    at.need(ec2.describe_security_groups().group_names("web").send().await);
    at.keep(ec2.describe_security_groups().group_names("nobody").send().await);
    at.keep(ec2.describe_security_groups().group_ids(NO_GROUP).send().await);
    at.keep(ec2.describe_security_groups().group_ids("nonsense").send().await);

    let revoke = |permission: &IpPermission| {
        ec2.revoke_security_group_ingress()
            .group_id(&group)
            .ip_permissions(permission.clone())
    };
    at.need(revoke(&all).send().await);
    at.need(revoke(&vxlan).send().await);
    let one = permission("tcp", Some((443, 443)))
        .ip_ranges(range("203.0.113.7/32"))
        .build();
    at.need(revoke(&one).send().await);
    described().await;
    at.keep(revoke(&all).send().await);
    at.keep(revoke(&all).group_id(NO_GROUP).send().await);

    // Not while a rule names it.
    at.need(authorize(vxlan).send().await);
    at.keep(ec2.delete_security_group().group_id(&source).send().await);
    at.need(ec2.delete_security_group().group_id(&unused).send().await);
    at.keep(ec2.delete_security_group().group_id(&unused).send().await);
    // Nor the default group, whose VPC is of no more use here: moto deletes it.
    let doomed = at.need(ec2.create_vpc().cidr_block("10.4.0.0/16").send().await);
    let doomed = doomed.vpc().unwrap().vpc_id().unwrap();
    let of_doomed = ec2
        .describe_security_groups()
        .filters(filter("vpc-id", &[doomed]));
    let default = at.need(of_doomed.send().await).security_groups()[0]
        .group_id()
        .unwrap()
        .to_owned();
    at.keep(ec2.delete_security_group().group_id(&default).send().await);
    group
}

pub(super) async fn network_acls(run: &Run, network: &Network) {
    let (ec2, at) = (&run.ec2, &run.steps);
    let create = ec2.create_network_acl().vpc_id(&network.vpc);
    let acl = at.need(
        create
            .tag_specifications(named(ResourceType::NetworkAcl, "strict"))
            .send()
            .await,
    );
    let acl = acl.network_acl().unwrap().network_acl_id().unwrap().to_owned();
    at.keep(ec2.create_network_acl().vpc_id(NO_VPC).send().await);
    let described = async || {
        at.need(ec2.describe_network_acls().network_acl_ids(&acl).send().await);
    };
    let create = |number: i32, protocol: &str, action: RuleAction| {
        let entry = ec2
            .create_network_acl_entry()
            .network_acl_id(&acl)
            .rule_number(number);
        entry.protocol(protocol).rule_action(action).egress(false)
    };
    let ports = |from: i32, to: i32| PortRange::builder().from(from).to(to).build();
    let allow = || {
        create(100, "6", RuleAction::Allow)
            .cidr_block("10.0.0.0/8")
            .port_range(ports(443, 443))
    };
    at.need(allow().send().await);
    at.need(
        create(110, "17", RuleAction::Deny)
            .cidr_block("10.5.0.0/16")
            .port_range(ports(4789, 4790))
            .send()
            .await,
    );
    at.need(
        create(120, "-1", RuleAction::Allow)
            .cidr_block("192.0.2.0/24")
            .send()
            .await,
    );
    at.need(
        create(120, "-1", RuleAction::Allow)
            .cidr_block("0.0.0.0/0")
            .egress(true)
            .send()
            .await,
    );
    at.need(
        create(130, "6", RuleAction::Allow)
            .ipv6_cidr_block("2001:db8::/32")
            .port_range(ports(0, 65535))
            .send()
            .await,
    );
    let ping = IcmpTypeCode::builder().r#type(8).code(-1).build();
    at.need(
        create(140, "1", RuleAction::Allow)
            .cidr_block("0.0.0.0/0")
            .icmp_type_code(ping)
            .send()
            .await,
    );
    described().await;
    at.keep(allow().send().await);
    at.keep(allow().network_acl_id(NO_ACL).send().await);

    let replace = |number: i32| {
        let entry = ec2
            .replace_network_acl_entry()
            .network_acl_id(&acl)
            .rule_number(number)
            .egress(false);
        entry
            .protocol("6")
            .rule_action(RuleAction::Deny)
            .cidr_block("10.6.0.0/16")
            .port_range(ports(22, 23))
    };
    at.need(replace(110).send().await);
    described().await;
    let delete = |number: i32| {
        ec2.delete_network_acl_entry()
            .network_acl_id(&acl)
            .rule_number(number)
            .egress(false)
    };
    at.need(delete(120).send().await);
    described().await;

    let of_subnet = || filter("association.subnet-id", &[&network.other_subnet]);
    let before = at.need(ec2.describe_network_acls().filters(of_subnet()).send().await);
    let of_subnet_only = |one: &&NetworkAclAssociation| one.subnet_id() == Some(&network.other_subnet);
    let association = before.network_acls()[0]
        .associations()
        .iter()
        .find(of_subnet_only);
    let association = association.unwrap().network_acl_association_id().unwrap();
    let replace = |association: &str, acl: &str| {
        ec2.replace_network_acl_association()
            .association_id(association)
            .network_acl_id(acl)
    };
    at.need(replace(association, &acl).send().await);
    at.need(ec2.describe_network_acls().filters(of_subnet()).send().await);
    for by in [filter("tag:Name", &["strict"]), filter("vpc-id", &[&network.vpc])] {
        at.need(ec2.describe_network_acls().filters(by).send().await);
    }
    let default = ec2.describe_network_acls().filters(filter("default", &["true"]));
    at.need(default.filters(filter("vpc-id", &[&network.vpc])).send().await);
    at.keep(ec2.describe_network_acls().network_acl_ids(NO_ACL).send().await);
}
