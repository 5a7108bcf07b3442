//! Bob Jenkins' lookup3 hash over 32-bit words, as Linux's `jhash2` has it. Where Linux chooses by this hash without a secret
//! (NAT address ranges, NFQUEUE balancing, cluster, HMARK), the same choice must come out.

/// `JHASH_INITVAL`.
const START: u32 = 0xdead_beef;

/// The hash of `words` with start value `initval`.
pub fn jhash2(words: &[u32], initval: u32) -> u32 {
    let start = START.wrapping_add((words.len() as u32) << 2).wrapping_add(initval);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = words;
    while let [x, y, z, tail @ ..] = rest
        && !tail.is_empty()
    {
        a = a.wrapping_add(*x);
        b = b.wrapping_add(*y);
        c = c.wrapping_add(*z);
        a = a.wrapping_sub(c) ^ c.rotate_left(4);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(6);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(8);
        b = b.wrapping_add(a);
        a = a.wrapping_sub(c) ^ c.rotate_left(16);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(19);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(4);
        b = b.wrapping_add(a);
        rest = tail;
    }
    if rest.is_empty() {
        return c;
    }
    let word = |n: usize| rest.get(n).copied().unwrap_or(0);
    finish(a.wrapping_add(word(0)), b.wrapping_add(word(1)), c.wrapping_add(word(2)))
}

/// The hash of three words (`jhash_3words`).
pub fn jhash_3words(x: u32, y: u32, z: u32, initval: u32) -> u32 {
    let start = START.wrapping_add(3 << 2).wrapping_add(initval);
    finish(start.wrapping_add(x), start.wrapping_add(y), start.wrapping_add(z))
}

fn finish(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// `value` scaled to `0..size` (`reciprocal_scale`).
pub fn scale(value: u32, size: u32) -> u32 {
    ((u64::from(value) * u64::from(size)) >> 32) as u32
}
