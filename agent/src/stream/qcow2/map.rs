//! What each part of the file is, in little memory.

use super::{
    Qcow2Error,
    entry::{Descriptor, Mapping},
    header::Header,
};

/// Most memory that the map of one image may take.
pub const LARGEST_MAP: usize = 8 << 20;

/// What each part of an image's file is, and which parts of its disk are zeros.
#[derive(Debug)]
pub struct Layout {
    header: Header,
    /// By place in the file.
    tables: Vec<Table>,
    /// By place in the file.
    extents: Vec<Extent>,
    /// By place in the file.
    packed: Vec<Packed>,
    /// By place on the disk: first unit and number of units.
    zeros: Vec<(u32, u32)>,
}

/// A part of the file that was read as a table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) sha256: [u8; 32],
}

/// Data that lies together in the file and on the disk, in units.
#[derive(Debug)]
struct Extent {
    host: u32,
    guest: u32,
    count: u32,
}

/// A compressed cluster. Its descriptor is split so that it takes 12 bytes and not 16: there can be many.
#[derive(Debug)]
struct Packed {
    guest: u32,
    descriptor: [u32; 2],
}

const _: () = assert!(size_of::<Extent>() == 12 && size_of::<Packed>() == 12);

impl Packed {
    fn new(guest: u32, Descriptor(bits): Descriptor) -> Self {
        Self { guest, descriptor: [(bits >> 32) as u32, bits as u32] }
    }

    fn descriptor(&self) -> Descriptor {
        let [high, low] = self.descriptor;
        Descriptor(u64::from(high) << 32 | u64::from(low))
    }
}

/// One part of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// First byte in the file.
    pub(super) start: u64,
    /// The byte after the last. Data may reach beyond the end of the file and is zeros there.
    pub(super) end: u64,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A table, by its number.
    Table(usize),
    /// Data for this byte of the disk and the following.
    Data { guest: u64 },
    /// A compressed cluster for this byte of the disk.
    Packed { guest: u64 },
}

impl Layout {
    /// Size of the disk.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.header.virtual_size
    }

    /// The parts of the disk that no data is for, as offset and length: they must read as zeros. In order, none
    /// touches another.
    pub fn zero_ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        let bits = self.header.unit_bits();
        self.zeros.iter().map(move |(guest, count)| {
            let start = u64::from(*guest) << bits;
            (start, (u64::from(*count) << bits).min(self.virtual_size().saturating_sub(start)))
        })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn table(&self, number: usize) -> Option<&Table> {
        self.tables.get(number)
    }

    /// The part of the file with the first byte of the disk; none when that is zero.
    pub(super) fn item_at_start(&self) -> Option<Item> {
        let extent = self.extents.iter().position(|extent| extent.guest == 0);
        let packed = self.packed.iter().position(|packed| packed.guest == 0);
        extent.and_then(|number| self.extent_item(number)).or_else(|| self.packed_item(packed?))
    }

    /// Compares the places of everything: no byte of the file may have two uses.
    fn check(&self) -> Result<(), Qcow2Error> {
        let mut cursor = Cursor::default();
        let (mut end, mut last_packed) = (0, None);
        while let Some(item) = cursor.next(self) {
            let packed = matches!(item.kind, Kind::Packed { .. });
            // A compressed cluster may start in the last sector of the one before.
            let allowed = match last_packed {
                Some((start, last_sector)) if packed && item.start > start => last_sector,
                _ => end,
            };
            if item.start < allowed {
                return Err(Qcow2Error::Overlap(item.start));
            }
            // The whole first cluster is the header's, whatever of it was read.
            end = end.max(item.end).max(self.header.cluster());
            last_packed = packed.then(|| (item.start, item.end.saturating_sub(1) & !511));
        }
        Ok(())
    }
}

/// Goes through the parts of the file in the file's order.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    table: usize,
    extent: usize,
    packed: usize,
}

impl Cursor {
    pub(super) fn next(&mut self, layout: &Layout) -> Option<Item> {
        let next =
            [layout.table_item(self.table), layout.extent_item(self.extent), layout.packed_item(self.packed)];
        let first = next.into_iter().flatten().min_by_key(|item| item.start)?;
        match first.kind {
            Kind::Table(_) => self.table += 1,
            Kind::Data { .. } => self.extent += 1,
            Kind::Packed { .. } => self.packed += 1,
        }
        Some(first)
    }
}

impl Layout {
    fn table_item(&self, number: usize) -> Option<Item> {
        let table = self.tables.get(number)?;
        Some(Item { start: table.start, end: table.end, kind: Kind::Table(number) })
    }

    fn extent_item(&self, number: usize) -> Option<Item> {
        let extent = self.extents.get(number)?;
        let bits = self.header.unit_bits();
        let (start, guest) = (u64::from(extent.host) << bits, u64::from(extent.guest) << bits);
        // The disk may end within the last unit.
        let length = (u64::from(extent.count) << bits).min(self.header.virtual_size.saturating_sub(guest));
        Some(Item { start, end: start + length, kind: Kind::Data { guest } })
    }

    fn packed_item(&self, number: usize) -> Option<Item> {
        let packed = self.packed.get(number)?;
        let (descriptor, bits) = (packed.descriptor(), self.header.cluster_bits);
        Some(Item {
            start: descriptor.start(bits),
            // The data itself may end before the end of the sector, and the file with it.
            end: descriptor.end(bits).min(self.header.file_length),
            kind: Kind::Packed { guest: u64::from(packed.guest) << self.header.unit_bits() },
        })
    }
}

/// Takes what the tables say, in the disk's order.
pub(super) struct Builder {
    layout: Layout,
    memory_left: usize,
}

impl Builder {
    pub(super) fn new(header: Header) -> Self {
        let layout =
            Layout { header, tables: Vec::new(), extents: Vec::new(), packed: Vec::new(), zeros: Vec::new() };
        Self { layout, memory_left: LARGEST_MAP }
    }

    pub(super) fn header(&self) -> &Header {
        &self.layout.header
    }

    pub(super) fn table(&mut self, table: Table) -> Result<(), Qcow2Error> {
        push(&mut self.layout.tables, table, &mut self.memory_left)
    }

    /// `length` bytes of the disk from `guest` are zeros.
    pub(super) fn zeros(&mut self, guest: u64, length: u64) -> Result<(), Qcow2Error> {
        let header = &self.layout.header;
        let length = length.min(header.virtual_size.saturating_sub(guest));
        let count = length.div_ceil(1 << header.unit_bits());
        self.zero_units(header.unit_of(guest), count as u32)
    }

    /// The cluster for the disk's byte `guest` is mapped like this. Clusters beyond the end of the disk are the
    /// memory of a suspended machine, and not for us.
    pub(super) fn cluster(&mut self, guest: u64, mapping: Mapping) -> Result<(), Qcow2Error> {
        let header = &self.layout.header;
        if guest >= header.virtual_size {
            return Ok(());
        }
        let unit = header.unit_of(guest);
        match mapping {
            Mapping::Zero => self.zeros(guest, header.cluster()),
            Mapping::Packed(descriptor) => {
                push(&mut self.layout.packed, Packed::new(unit, descriptor), &mut self.memory_left)
            }
            Mapping::Data { host, units } => {
                // The disk may end before the cluster does.
                let past_end = header.unit_of(header.virtual_size.next_multiple_of(1 << header.unit_bits()));
                let host = header.unit_of(host);
                (0..header.units_per_cluster().min(past_end - unit)).try_for_each(|number| {
                    if units & (1 << number) == 0 {
                        self.zero_units(unit + number, 1)
                    } else {
                        self.data_unit(host + number, unit + number)
                    }
                })
            }
        }
    }

    /// Sorts and checks.
    pub(super) fn finish(self) -> Result<Layout, Qcow2Error> {
        let mut layout = self.layout;
        let bits = layout.header.cluster_bits;
        layout.tables.sort_unstable_by_key(|table| table.start);
        layout.extents.sort_unstable_by_key(|extent| extent.host);
        layout.packed.sort_unstable_by_key(|packed| packed.descriptor().start(bits));
        layout.check()?;
        Ok(layout)
    }

    fn zero_units(&mut self, guest: u32, count: u32) -> Result<(), Qcow2Error> {
        match self.layout.zeros.last_mut() {
            Some((last, length)) if *last + *length == guest => *length += count,
            _ if count == 0 => {}
            _ => push(&mut self.layout.zeros, (guest, count), &mut self.memory_left)?,
        }
        Ok(())
    }

    fn data_unit(&mut self, host: u32, guest: u32) -> Result<(), Qcow2Error> {
        match self.layout.extents.last_mut() {
            Some(last) if last.host + last.count == host && last.guest + last.count == guest => {
                last.count += 1
            }
            _ => push(&mut self.layout.extents, Extent { host, guest, count: 1 }, &mut self.memory_left)?,
        }
        Ok(())
    }
}

impl Header {
    /// The unit that a byte of the file or of the disk is in. [`Header::parse`] made sure that both have fewer than
    /// 2^32 of them.
    fn unit_of(&self, byte: u64) -> u32 {
        (byte >> self.unit_bits()) as u32
    }
}

/// Adds to a list that grows a quarter at a time, as long as memory is left.
fn push<T>(list: &mut Vec<T>, item: T, memory_left: &mut usize) -> Result<(), Qcow2Error> {
    if list.len() == list.capacity() {
        let more = (list.len() / 4).max(64);
        *memory_left = memory_left.checked_sub(more * size_of::<T>()).ok_or(Qcow2Error::TooFragmented)?;
        list.reserve_exact(more);
    }
    list.push(item);
    Ok(())
}
