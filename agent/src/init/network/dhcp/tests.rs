use std::collections::VecDeque;

use dhcproto::{
    Decodable as _, Decoder, Encodable as _, Encoder,
    v4::{DhcpOption, Message, MessageType, Opcode, OptionCode},
};
use proptest::prelude::*;

use super::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

fn decode(bytes: &[u8]) -> Message {
    Message::decode(&mut Decoder::new(bytes)).unwrap()
}

fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

/// An honest answer to a request.
fn reply(request: &[u8], kind: MessageType) -> Message {
    let request = decode(request);
    let mut message = Message::new_with_id(request.xid(), ADDRESS, ADDRESS, SERVER, SERVER, &MAC);
    message.set_opcode(Opcode::BootReply);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(SERVER));
    options.insert(DhcpOption::SubnetMask([255, 255, 255, 0].into()));
    options.insert(DhcpOption::Router(vec![SERVER]));
    options.insert(DhcpOption::DomainNameServer(vec![[10, 0, 0, 2].into(), [0, 0, 0, 0].into()]));
    options.insert(DhcpOption::DomainName("example.org".into()));
    options.insert(DhcpOption::AddressLeaseTime(3600));
    message
}

fn client() -> Client {
    Client { mac: MAC, xid: 7, seconds: 0 }
}

fn parsed(change: impl Fn(&mut Message)) -> Option<Answer> {
    let mut message = reply(&client().discover(), MessageType::Offer);
    change(&mut message);
    client().parse(&encode(&message))
}

/// A network with a server that answers by a script: `None` is silence.
struct Script {
    answers: VecDeque<Option<MessageType>>,
    sent: Vec<(MessageType, Option<Ipv4Addr>)>,
    inbox: VecDeque<Vec<u8>>,
}

impl Script {
    fn new(answers: &[Option<MessageType>]) -> Self {
        Self { answers: answers.iter().copied().collect(), sent: vec![], inbox: VecDeque::new() }
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&mut self, packet: &[u8], server: Option<Ipv4Addr>) -> io::Result<()> {
        assert!(packet.len() >= 300);
        self.sent.push((decode(packet).opts().msg_type().unwrap(), server));
        // Noise first: garbage, and an answer to somebody else.
        self.inbox.push_back(vec![2; 17]);
        let mut other = reply(packet, MessageType::Offer);
        other.set_xid(decode(packet).xid().wrapping_add(1));
        self.inbox.push_back(encode(&other));
        if let Some(Some(kind)) = self.answers.pop_front() {
            self.inbox.push_back(encode(&reply(packet, kind)));
        }
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self.inbox.pop_front() {
            Some(packet) => Ok(packet),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_is_obtained_in_spite_of_silence_and_refusal() {
    use MessageType::{Ack, Discover, Nak, Offer, Request};
    let mut script = Script::new(&[None, None, Some(Offer), Some(Nak), Some(Offer), None, Some(Ack)]);
    let lease = obtain(&mut script, MAC).await;
    assert_eq!((lease.address, lease.prefix, lease.server), (ADDRESS, 24, SERVER));
    assert_eq!(lease.routes, [(Ipv4Addr::UNSPECIFIED, 0, SERVER)]);
    assert_eq!(lease.dns, [Ipv4Addr::new(10, 0, 0, 2)], "an impossible name server is left out");
    assert_eq!(lease.domain.as_deref(), Some("example.org"));
    assert_eq!(lease.renew, Duration::from_secs(1800));
    let kinds: Vec<_> = script.sent.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Discover, Discover, Discover, Request, Discover, Request, Request]);
}

fn short_lease() -> Lease {
    let request = client().discover();
    let Some(Answer::Ack(lease)) = client().parse(&encode(&reply(&request, MessageType::Ack))) else {
        panic!()
    };
    Lease {
        renew: Duration::from_millis(50),
        rebind: Duration::from_millis(300),
        expire: Duration::from_millis(600),
        ..lease
    }
}

#[tokio::test]
async fn a_lease_is_extended_by_its_server_then_by_any_then_lost() {
    let lease = short_lease();
    let mut script = Script::new(&[Some(MessageType::Ack)]);
    let extended = extend(&mut script, MAC, &lease, Instant::now()).await;
    assert!(matches!(extended, Extended::Renewed(_)));
    assert_eq!(script.sent, [(MessageType::Request, Some(SERVER))]);

    let mut script = Script::new(&[]);
    assert!(matches!(extend(&mut script, MAC, &lease, Instant::now()).await, Extended::Lost));
    assert_eq!(script.sent.first().unwrap().1, Some(SERVER));
    assert_eq!(script.sent.last().unwrap().1, None);

    let mut script = Script::new(&[Some(MessageType::Nak)]);
    assert!(matches!(extend(&mut script, MAC, &lease, Instant::now()).await, Extended::Lost));
}

#[test]
fn hostile_answers_are_not_believed() {
    assert!(matches!(parsed(|_| ()), Some(Answer::Offer(_))));
    for yiaddr in [[0, 0, 0, 0], [255, 255, 255, 255], [224, 0, 0, 1], [127, 0, 0, 1], [0, 1, 2, 3]] {
        assert_eq!(
            parsed(|m| {
                m.set_yiaddr(yiaddr);
            }),
            None,
            "{yiaddr:?}"
        );
    }
    assert_eq!(
        parsed(|m| {
            m.set_opcode(Opcode::BootRequest);
        }),
        None
    );
    assert_eq!(
        parsed(|m| {
            m.set_xid(8);
        }),
        None
    );
    assert_eq!(
        parsed(|m| {
            m.set_chaddr(&[1, 2, 3, 4, 5, 6]);
        }),
        None
    );
    assert_eq!(
        parsed(|m| {
            m.set_chaddr(&[0; 16]);
        }),
        None
    );
    assert_eq!(
        parsed(|m| {
            m.opts_mut().remove(OptionCode::ServerIdentifier);
        }),
        None
    );
    assert_eq!(
        parsed(|m| {
            m.opts_mut().insert(DhcpOption::SubnetMask([255, 0, 255, 0].into()));
        }),
        None
    );
    assert_eq!(
        parsed(|m| {
            m.opts_mut().insert(DhcpOption::SubnetMask([0; 4].into()));
        }),
        None
    );
    assert_eq!(
        parsed(|m| {
            m.opts_mut().insert(DhcpOption::MessageType(MessageType::Inform));
        }),
        None
    );
}

#[test]
fn a_hardware_address_longer_than_its_field_is_no_panic() {
    let mut bytes = encode(&reply(&client().discover(), MessageType::Offer));
    bytes[2] = 255;
    assert_eq!(client().parse(&bytes), None);
    assert_eq!(client().parse(&vec![0; MAX_PACKET + 1]), None);
}

#[test]
fn lease_times_are_brought_into_order() {
    let times = |lease, renew, rebind| {
        let answer = parsed(|m| {
            m.opts_mut().insert(DhcpOption::AddressLeaseTime(lease));
            m.opts_mut().insert(DhcpOption::Renewal(renew));
            m.opts_mut().insert(DhcpOption::Rebinding(rebind));
        });
        let Some(Answer::Offer(lease)) = answer else { panic!("{answer:?}") };
        assert!(lease.renew <= lease.rebind && lease.rebind <= lease.expire, "{lease:?}");
        (lease.renew.as_secs(), lease.rebind.as_secs(), lease.expire.as_secs())
    };
    assert_eq!(times(3600, 1000, 2000), (1000, 2000, 3600));
    assert_eq!(times(0, 0, 0), (15, 30, 60));
    assert_eq!(times(u32::MAX, u32::MAX, u32::MAX), (302_400, 529_200, 604_800));
    assert_eq!(times(3600, 5000, 4000), (1800, 3150, 3600));
}

#[test]
fn classless_routes_replace_routers_and_names_are_clean() {
    let answer = parsed(|m| {
        let gateway = Ipv4Addr::new(10, 0, 0, 9);
        m.opts_mut().insert(DhcpOption::ClasslessStaticRoute(vec![
            ("0.0.0.0/0".parse().unwrap(), gateway),
            ("10.9.0.0/16".parse().unwrap(), Ipv4Addr::BROADCAST),
        ]));
        m.opts_mut().insert(DhcpOption::DomainName("evil\nnameserver 6.6.6.6".into()));
    });
    let Some(Answer::Offer(lease)) = answer else { panic!("{answer:?}") };
    assert_eq!(lease.routes, [(Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(10, 0, 0, 9))]);
    assert_eq!(lease.domain, None);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        client().parse(&bytes);
    }

    /// Whatever is damaged, what is believed is in order.
    #[test]
    fn a_damaged_answer_is_in_order_or_refused(
        damage in proptest::collection::vec((0_usize..400, any::<u8>()), 1..20)
    ) {
        let mut bytes = encode(&reply(&client().discover(), MessageType::Offer));
        for (at, byte) in damage {
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
        }
        if let Some(Answer::Offer(lease) | Answer::Ack(lease)) = client().parse(&bytes) {
            prop_assert!((1..=32).contains(&lease.prefix));
            prop_assert!(lease.renew <= lease.rebind && lease.rebind <= lease.expire);
            prop_assert!(lease.dns.len() <= 3 && lease.routes.len() <= 32);
        }
    }
}
