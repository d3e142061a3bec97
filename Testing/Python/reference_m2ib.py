"""M2IB written straight from its formulas: slow and plain, the reference that the fast one must match."""

import torch
import torch.nn.functional as F


def reference_m2ib(model, pixels, text, layer, beta, steps, samples, learning_rate, noises):
    """The map (h, w) of one image (1, 3, S, S) for one text (D,), with `noises` (samples, T, C) of each step."""
    trunk = model.visual.trunk
    captured = {}
    block = trunk.blocks[layer]
    hook = block.register_forward_hook(lambda module, inputs, output: captured.update(tokens=output.detach()))
    model.encode_image(pixels)
    hook.remove()
    tokens = captured["tokens"][0]
    alpha = torch.full_like(tokens, 5.0, requires_grad=True)
    optimizer = torch.optim.Adam([alpha], lr=learning_rate)
    for step in range(steps):
        weight = torch.sigmoid(alpha)
        mean, variance = weight * tokens, (1 - weight) ** 2
        kl = -0.5 * (1 + torch.log(variance) - mean**2 - variance)
        similarities = []
        for noise in noises[step]:
            blended = weight * tokens + (1 - weight) * noise
            hook = block.register_forward_hook(lambda module, inputs, output: blended[None])
            image = model.encode_image(pixels)[0]
            hook.remove()
            similarities.append(F.cosine_similarity(image, text, dim=0))
        loss = beta * kl.mean() - torch.stack(similarities).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    height, width = trunk.patch_embed.grid_size
    return kl.detach().sum(-1)[trunk.num_prefix_tokens :].reshape(height, width)
