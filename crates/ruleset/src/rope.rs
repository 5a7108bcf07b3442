//! A long list into whose middle much is put: in blocks, so that no insertion moves more than one of them.

/// How many items a block has at most.
const BLOCK: usize = 512;

/// The list. No block is empty.
#[derive(Clone, Debug)]
pub(crate) struct Rope<T> {
    blocks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Rope<T> {
    fn default() -> Rope<T> {
        Rope { blocks: Vec::new(), len: 0 }
    }
}

impl<T> Rope<T> {
    /// How many items it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The items in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }

    /// The items in order, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.blocks.iter_mut().flatten()
    }

    /// The items in order, for good.
    pub(crate) fn into_items(self) -> impl Iterator<Item = T> {
        self.blocks.into_iter().flatten()
    }

    /// The block and the place in it of an item; None after the last.
    fn find(&self, at: usize) -> Option<(usize, usize)> {
        let mut left = at;
        for (n, block) in self.blocks.iter().enumerate() {
            if left < block.len() {
                return Some((n, left));
            }
            left -= block.len();
        }
        None
    }

    /// The item at a place.
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let (block, place) = self.find(at)?;
        self.blocks.get_mut(block)?.get_mut(place)
    }

    /// Puts an item before the one at this place, or after the last.
    pub(crate) fn insert(&mut self, at: usize, item: T) {
        self.len += 1;
        if at + 1 == self.len {
            match self.blocks.last_mut() {
                Some(block) if block.len() < BLOCK => block.push(item),
                _ => self.blocks.push(vec![item]),
            }
            return;
        }
        let Some((n, place)) = self.find(at) else { return };
        let block = &mut self.blocks[n];
        block.insert(place, item);
        if block.len() > BLOCK {
            let half = block.split_off(BLOCK / 2);
            self.blocks.insert(n + 1, half);
        }
    }

    /// Takes the item at this place out.
    pub(crate) fn remove(&mut self, at: usize) -> Option<T> {
        let (n, place) = self.find(at)?;
        let item = self.blocks[n].remove(place);
        self.len -= 1;
        if self.blocks[n].is_empty() {
            self.blocks.remove(n);
        }
        Some(item)
    }
}

impl<T> FromIterator<T> for Rope<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Rope<T> {
        let mut rope = Rope::default();
        for item in items {
            rope.insert(rope.len, item);
        }
        rope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_as_a_list_does() {
        let mut seed = 3_u64;
        let mut roll = |sides: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % sides
        };
        let mut list: Vec<usize> = (0..2000).collect();
        let mut rope: Rope<usize> = list.iter().copied().collect();
        for step in 0..8000 {
            if step < 5000 && roll(3) > 0 || list.is_empty() {
                let at = roll(list.len() + 1);
                list.insert(at, step);
                rope.insert(at, step);
            } else {
                let at = roll(list.len());
                assert_eq!(rope.remove(at), Some(list.remove(at)));
            }
            assert_eq!(rope.len(), list.len());
            if step % 1000 == 0 {
                assert!(rope.iter().eq(&list));
                let at = roll(list.len());
                assert_eq!(rope.get_mut(at), list.get_mut(at));
            }
        }
        assert!(rope.blocks.iter().all(|block| !block.is_empty() && block.len() <= BLOCK));
        assert_eq!(rope.get_mut(list.len()), None);
        assert!(rope.into_items().eq(list));
    }
}
