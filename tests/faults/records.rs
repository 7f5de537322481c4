//! Where the records of a WAL or a MANIFEST are. Both are log files of RocksDB: blocks of 32,768 bytes, in which each
//! fragment of a record is a header of 7 bytes (4 of a checksum, 2 of the length, 1 of the type) and its bytes.

const BLOCK: usize = 32_768;
const HEADER: usize = 7;

/// Where the headers begin.
pub(crate) fn headers(file: &[u8]) -> Vec<usize> {
    let mut headers = Vec::new();
    for (number, block) in file.chunks(BLOCK).enumerate() {
        let mut at = 0;
        while let Some(header) = block.get(at..at + HEADER) {
            if header.iter().all(|byte| *byte == 0) {
                break;
            }
            headers.push(number * BLOCK + at);
            at += HEADER + usize::from(u16::from_le_bytes([header[4], header[5]]));
        }
    }
    headers
}

/// Every bit of every header, as places of a byte and a bit in it.
pub(crate) fn header_bits(file: &[u8]) -> Vec<(usize, u32)> {
    let bytes = headers(file).into_iter().flat_map(|at| at..at + HEADER);
    bytes.flat_map(|at| (0..8).map(move |bit| (at, bit))).collect()
}
