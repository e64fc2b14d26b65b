"""The looks that the second training teaches: where an object stands, how large it is, whether it is mirrored, and two objects in one
picture.

An object stands on a grid of the transformer's tokens (16 pixels), so that its tokens are the same at every place and only have to be
learned once for each size.
"""
import torch

import train_tiny as tiny

PATCH_PX = 16
# (box in px, left, top) of an object that is alone; the first one is what train_tiny.py teaches
PLACES = [(56, 4, 4)] + [(48, x, y) for y in (0, PATCH_PX) for x in (0, PATCH_PX)]
LOOKS = 2 * len(PLACES)          # look = 2 * place + mirrored
PAIR_BOX_PX = 30                 # an object of two, in half of the width


def plain(bg):
    """[3, SIZE, SIZE] in 0..1, the background's colour everywhere."""
    rgb = torch.tensor(tiny.BACKGROUNDS[bg][2], dtype=torch.float32)
    return rgb.view(3, 1, 1).div(255).expand(3, tiny.SIZE, tiny.SIZE).clone()


def allowed(*objects, bg):
    """Whether the transformer may see these objects on this background."""
    return not any(tiny.held_out(obj, bg) for obj in objects)


class Glyphs:
    def __init__(self, font):
        self.by_size = tiny.load_glyphs(font, sorted({box for box, _, _ in PLACES} | {PAIR_BOX_PX}))

    def _put(self, picture, obj, box, left, top, mirrored):
        g = self.by_size[box][obj]
        if mirrored:
            g = g.flip(-1)
        region = picture[:, top:top + box, left:left + box]
        region.mul_(1 - g[3:]).add_(g[:3])

    def one(self, obj, bg, look):
        """[3, SIZE, SIZE] in -1..1"""
        picture = plain(bg)
        self._put(picture, obj, *PLACES[look // 2], look % 2 == 1)
        return picture.clamp(0, 1) * 2 - 1

    def two(self, first, second, bg, rows, mirrored):
        """`first` on the left, `second` on the right; rows (0..2) and mirrored, one for each."""
        picture = plain(bg)
        for k, obj in enumerate((first, second)):
            self._put(picture, obj, PAIR_BOX_PX, 2 * PATCH_PX * k + 1, PATCH_PX * rows[k] + 1, mirrored[k])
        return picture.clamp(0, 1) * 2 - 1


def draw_pair(rng):
    """(first, second, bg, rows, mirrored) of a picture of two objects that the transformer may see."""
    while True:
        bg = rng.randrange(len(tiny.BACKGROUNDS))
        first, second = rng.sample(range(len(tiny.OBJECTS)), 2)
        if allowed(first, second, bg=bg):
            return first, second, bg, (rng.randrange(3), rng.randrange(3)), (rng.random() < 0.5, rng.random() < 0.5)


def pair_caption(rng, first, second, bg):
    (_, en_first, zh_first), (_, en_second, zh_second) = tiny.OBJECTS[first], tiny.OBJECTS[second]
    if rng.random() < 0.3:
        return f"{tiny.BACKGROUNDS[bg][1]}背景上的{zh_first[0]}和{zh_second[0]}"
    return f"{tiny.noun(en_first[0])} and {tiny.noun(en_second[0])} on a {tiny.BACKGROUNDS[bg][0]} background"
