"""Changes that leave a module doing the same, which mutate.py's tests therefore cannot notice."""

EQUIVALENT = {
    "softraster/api.py": {
        "to() gives back a tensor that has the dtype already": (
            "return [canvas if canvas.dtype == scene.canvas_dtype else  => ]"
            "canvas.to(scene.canvas_dtype)",
        ),
    },
    "handwriting/metrics.py": {
        "lifted is 0 or 1": (
            "ines(image, list(ends[lifted <[ => =] 0.5]), False, 1)",
            "nes(image, list(ends[lifted < [0.5 => 0.25]]), False, 1)",
            "nes(image, list(ends[lifted < [0.5 => 1.0]]), False, 1)",
            ", 1]) * (drawings[:, :-1, 2] <[ => =] 0.5)",
            " 1]) * (drawings[:, :-1, 2] < [0.5 => 1.0])",
            "lifted = drawings[:, :-1, 2] >[ => =] 0.5",
            "down = drawings[:, :-1, 2] <[ => =] 0.5",
            "down = drawings[:, :-1, 2] < [0.5 => 0.25]",
            "down = drawings[:, :-1, 2] < [0.5 => 1.0]",
            "ifted = drawings[:, :-1, 2] > [0.5 => 0.25]",
            " 1]) * (drawings[:, :-1, 2] < [0.5 => 0.25])",
        ),
        "a line drawn back lies on its own pixels": (
            "ge, list(ends[lifted < 0.5]), [False => True], 1)",
        ),
        "the middle of three numbers does not depend on their order": (
            "np.degrees(np.arccos(np.clip([cosine, -1 => -1, cosine], 1)))",
        ),
        "skeletons are as high as they are wide": (
            "size = skeletons.shape[[- => ]1]",
            "size = skeletons.shape[-[1 => 2]]",
        ),
        "distances are roots of whole numbers, of which none is 1.5": (
            "sion = _mean_where(to_wanted <[= => ] NEAR, drawn)",
            "ecall = _mean_where(to_drawn <[= => ] NEAR, wanted)",
        ),
        "the distances of both directions are flattened next": (
            "ted, to_drawn, np.inf)), axis=[1 => 2])",
        ),
        "the numerator is 0 where the sum of both is": (
            " / np.where(total > 0, total, [1 => 2]), 'iou': (drawn & wanted).sum",
        ),
        "NumPy takes any negative size for the one to find": (
            "tile(both.reshape(len(both), -[1 => 2]), 0.95), 'failed': (np.minimu",
        ),
        "without length the place is the first point, whatever the segment": (
            "[segment *= until[:, -1:] > 0 => pass]",
            "segment *= until[:, -1:] >[ => =] 0",
            "segment *= until[:, -1:] > [0 => -1]",
            " np.where(length > 0, length, [1 => 2])",
        ),
        "lifted changes in the last segment of a chain only, and no length is taken of it": (
            "teps = np.diff(drawings[..., :[2 => 3]].astype(np.float64), axis=1)",
        ),
        "any number under 0 says that nothing was drawn before": (
            ", np.arange(drawn.shape[1]), -[1 => 2]), axis=1)",
        ),
        "a step without length is 0, whatever divides it": (
            " np.where(length > 0, length, [1 => 2])[..., None]",
        ),
        "no angle of 120 degrees comes out of the arc cosine exactly": (
            "urn, axis=1), 'sharp': (turn >[ => =] SHARP).sum(axis=1).astype(np.",
        ),
        "the last axis is the default": ("values = np.sort(values[, axis=1 => ])",),
    },
}
