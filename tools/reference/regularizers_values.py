"""Writes ml/regularizers/testing/reference_values.h: values and gradients of the regularizers by numpy and PyTorch's autograd.

    python3 tools/reference/regularizers_values.py > ml/regularizers/testing/reference_values.h

It needs numpy and torch. numpy computes the values (corrcoef, cov, linalg.norm, or loops over the papers' formulas),
and autograd the gradients, through other code than the project's; the script compares the two. The layers are those of
FormulaLayers in ml/regularizers/testing/example_layers.h. Format the header with clang-format.
"""

import math

import numpy as np
import torch

SHAPES = {"a": (4, 2, 3, 3), "b": (5, 4, 3, 3), "c": (4, 5, 2, 2), "d": (6, 4, 1, 1)}


def formula_layers(masked):
    """Name -> (dense weight, mask in the weight's shape)."""
    layers = {}
    for index, (name, shape) in enumerate(SHAPES.items()):
        k = np.arange(np.prod(shape), dtype=np.float64)
        weight = (np.sin(1.7 * k + index) * 0.1 + np.cos(0.3 * k * k + 2 * index) * 0.05).reshape(shape)
        mask = np.ones(shape)
        if masked and name == "a":
            mask[1] = 0
        if masked and name == "b":
            mask = ((np.arange(np.prod(shape)) * 7) % 5 >= 2).astype(np.float64).reshape(shape)
            mask[3] = 0
        layers[name] = (weight, mask)
    return layers


def direction(shape, index):
    return np.cos(np.arange(np.prod(shape)) * 0.7 + index).reshape(shape)


def live(mask):
    return [f for f in range(mask.shape[0]) if mask[f].any()]


def correlation_value(phi, layers, names):
    total = 0.0
    for name in names:
        weight, mask = layers[name]
        rows = (weight * mask)[live(mask)].reshape(len(live(mask)), -1)
        rho = np.corrcoef(rows)
        pairs = [phi(rho[i, j]) for i in range(len(rho)) for j in range(i)]
        total += np.mean(pairs)
    return total


def correlation_torch(phi, weights, layers, names):
    total = 0.0
    for name in names:
        mask = layers[name][1]
        rows = (weights[name] * torch.from_numpy(mask))[live(mask)].flatten(1)
        rho = torch.corrcoef(rows)
        i, j = np.triu_indices(len(rho), 1)
        total = total + phi(rho[i, j]).mean()
    return total


def kernel_cov_value(layers, names, mean):
    total, slices = 0.0, 0
    for name in names:
        weight, mask = layers[name]
        for f in live(mask):
            for kernel in (weight * mask)[f]:
                total += np.abs(np.triu(np.cov(kernel))).sum()
                slices += 1
    return total / slices if mean else total


def kernel_cov_torch(weights, layers, names, mean):
    total, slices = 0.0, 0
    for name in names:
        mask = layers[name][1]
        for f in live(mask):
            for kernel in (weights[name] * torch.from_numpy(mask))[f]:
                total = total + torch.triu(torch.cov(kernel)).abs().sum()
                slices += 1
    return total / slices if mean else total


def group_lasso_value(layers, names, filters, channels, sized):
    total = 0.0
    for name in names:
        weight, mask = layers[name]
        w = weight * mask
        groups = ([w[f] for f in range(len(w))] if filters else []) + (
            [w[:, c] for c in range(w.shape[1])] if channels else [])
        total += sum(np.sqrt(np.sum(g * g)) * (np.sqrt(g.size) if sized else 1) for g in groups)
    return total


def group_lasso_torch(weights, layers, names, filters, channels, sized):
    total = 0.0
    for name in names:
        w = weights[name] * torch.from_numpy(layers[name][1])
        # Rows are groups; rows of zeros are left out, because the norm has no gradient there.
        for matrix in ([w.flatten(1)] if filters else []) + ([w.transpose(0, 1).flatten(1)] if channels else []):
            norms = torch.stack([row.norm() for row in matrix if row.abs().max() > 0])
            total = total + norms.sum() * (math.sqrt(matrix.shape[1]) if sized else 1)
    return total


def live_rows(layers, name):
    weight, mask = layers[name]
    return (weight * mask)[live(mask)].reshape(len(live(mask)), -1)


def live_rows_torch(weights, layers, name):
    mask = layers[name][1]
    return (weights[name] * torch.from_numpy(mask))[live(mask)].flatten(1)


def orthogonality_value(layers, names, sides, mean):
    total = 0.0
    for name in names:
        w = live_rows(layers, name)
        for side in sides:
            gram = w @ w.T if side == "filters" else w.T @ w
            square = np.linalg.norm(gram - np.eye(len(gram)), "fro") ** 2
            total += square / gram.size if mean else square
    return total


def orthogonality_torch(weights, layers, names, sides, mean):
    total = 0.0
    for name in names:
        w = live_rows_torch(weights, layers, name)
        for side in sides:
            gram = w @ w.T if side == "filters" else w.T @ w
            squares = (gram - torch.eye(len(gram), dtype=torch.float64)) ** 2
            total = total + (squares.mean() if mean else squares.sum())
    return total


def philox(counter, key):
    """Philox 4x32-10 (Salmon et al. 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def start_vector(name, size, seed=1):
    """Normal numbers of the stream that ml/base/random.h documents, for the purpose "srip/<name>"."""
    full = (1 << 64) - 1

    def mix(x):
        x = (x + 0x9E3779B97F4A7C15) & full
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & full
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & full
        return x ^ (x >> 31)

    digest = 0xCBF29CE484222325
    for byte in ("srip/" + name).encode():
        digest = ((digest ^ byte) * 0x100000001B3) & full
    key, stream = mix(seed ^ mix(digest)), mix(0) ^ mix((mix(0) + 1) & full)
    normals, block = [], 0
    while len(normals) < size:
        words = philox([block & 0xFFFFFFFF, block >> 32, stream & 0xFFFFFFFF, stream >> 32],
                       [key & 0xFFFFFFFF, key >> 32])
        block += 1
        u, v = [((words[i] | words[i + 1] << 32) >> 11) * 2.0**-53 for i in (0, 2)]
        radius, angle = math.sqrt(-2 * math.log(1 - u)), 2 * math.pi * v
        normals += [radius * math.cos(angle), radius * math.sin(angle)]
    return np.array(normals[:size])


def srip_value(layers, names, iterations, squared):
    total = 0.0
    for name in names:
        w, mask = live_rows(layers, name), layers[name][1]
        a = w @ w.T - np.eye(len(w))
        x = np.linalg.matrix_power(a, iterations) @ start_vector(name, len(mask))[live(mask)]
        sigma = np.linalg.norm(a @ x) / np.linalg.norm(x)
        total += sigma**2 if squared else sigma
    return total


def srip_torch(weights, layers, names, iterations, squared):
    total = 0.0
    for name in names:
        w, mask = live_rows_torch(weights, layers, name), layers[name][1]
        a = w @ w.T - torch.eye(len(w), dtype=torch.float64)
        u = torch.from_numpy(start_vector(name, len(mask))[live(mask)])
        for _ in range(iterations):
            u = a @ u
        sigma = (a @ u).norm() / u.norm()
        total = total + (sigma**2 if squared else sigma)
    return total


def srip_repository_value(layers, names):
    total = 0.0
    for name in names:
        w = layers[name][0].reshape(len(layers[name][0]), -1)
        a = w.T @ w - np.eye(w.shape[1])
        v = a.T @ start_vector(name, len(a))
        v /= np.linalg.norm(v)
        u = a @ v
        total += (u / np.linalg.norm(u) @ (a @ v))**2
    return total


def srip_repository_torch(weights, names):
    """In the order of the authors' operations: u random, v from u, u from v, sigma = u . A v."""
    unit = torch.nn.functional.normalize
    total = 0.0
    for name in names:
        w = weights[name].flatten(1)
        a = w.t().matmul(w) - torch.eye(w.shape[1], dtype=torch.float64)
        u = unit(torch.from_numpy(start_vector(name, len(a))), dim=0)
        v = unit(a.t().matmul(u), dim=0)
        u = unit(a.matmul(v), dim=0)
        total = total + torch.dot(u, a.matmul(v))**2
    return total


def orthoreg_value(layers, names, psi, mean):
    total = 0.0
    for name in names:
        w = live_rows(layers, name)
        pairs = [psi(w[i] @ w[j] / np.sqrt((w[i] @ w[i]) * (w[j] @ w[j])))
                 for i in range(len(w)) for j in range(len(w)) if i != j]
        total += np.mean(pairs) if mean else np.sum(pairs)
    return total


def orthoreg_torch(weights, layers, names, psi, mean):
    total = 0.0
    for name in names:
        w = live_rows_torch(weights, layers, name)
        cosine = torch.nn.functional.cosine_similarity(w[:, None], w[None], dim=2)
        pairs = psi(cosine)[~torch.eye(len(w), dtype=torch.bool)]
        total = total + (pairs.mean() if mean else pairs.sum())
    return total


def zhu_value(layers, names, ratio):
    total = ratio / 2 * group_lasso_value(layers, names, True, True, False)
    for name in names:
        rho = np.corrcoef(live_rows(layers, name))
        total += np.linalg.norm(rho - np.eye(len(rho))) / len(rho)
    return total


def zhu_torch(weights, layers, names, ratio):
    total = ratio / 2 * group_lasso_torch(weights, layers, names, True, True, False)
    for name in names:
        rho = torch.corrcoef(live_rows_torch(weights, layers, name))
        total = total + (rho - torch.eye(len(rho), dtype=torch.float64)).norm() / len(rho)
    return total


def tpp_stays(rows, rate):
    """1 for filters that stay, 0 for the int(n rate) + 1 of smallest mean |w|, but one stays."""
    goes = min(int(len(rows) * rate) + 1, len(rows) - 1)
    order = sorted(range(len(rows)), key=lambda f: (np.mean(np.abs(rows[f])), f))
    return np.array([0.0 if f in order[:goes] else 1.0 for f in range(len(rows))])


def tpp_value(layers, names, rate):
    total = 0.0
    for name in names:
        weight, mask = layers[name]
        rows = (weight * mask).reshape(len(weight), -1)
        stays = tpp_stays(rows, rate)
        for i in range(len(rows)):
            for j in range(len(rows)):
                if not (stays[i] and stays[j]):
                    total += np.dot(rows[i], rows[j]) ** 2
    return total


def tpp_torch(weights, layers, names, rate):
    total = 0.0
    for name in names:
        rows = (weights[name] * torch.from_numpy(layers[name][1])).flatten(1)
        m = torch.from_numpy(tpp_stays(rows.detach().numpy(), rate))
        total = total + ((rows @ rows.T) * (1 - torch.outer(m, m))).norm() ** 2
    return total


def formula(shape, index):
    k = np.arange(np.prod(shape), dtype=np.float64)
    return (np.sin(1.7 * k + index) * 0.1 + np.cos(0.3 * k * k + 2 * index) * 0.05).reshape(shape)


def print_one_tensor(name, tensor, index, value, torch_value_of):
    """`value` by numpy and the gradient by torch, of a penalty on one tensor."""
    leaf = torch.tensor(tensor, requires_grad=True)
    by_torch = torch_value_of(leaf)
    assert abs(by_torch.item() - value) <= 1e-13 * abs(value), (name, by_torch.item(), value)
    by_torch.backward()
    print("inline constexpr OneTensorValues %s = {%r, %r, %r};" %
          (name, float(value), float((leaf.grad.numpy() * direction(tensor.shape, index)).sum()),
           float(leaf.grad.norm())))


def print_one_tensor_cases():
    print("""
// Of FormulaWeight(shape, index) alone, the gradient's projection on FormulaDirection(tensor, index): gammas [7], index
// 4; activations [6, 5] and [4, 3, 2, 5], index 5.
struct OneTensorValues {
  double value, projection, norm;
};
""")
    gamma = formula((7,), 4)
    print_one_tensor("kBatchNormL1", gamma, 4, np.linalg.norm(gamma, 1), lambda t: torch.nn.functional.l1_loss(
        t, torch.zeros_like(t), reduction="sum"))
    features, maps = formula((6, 5), 5), formula((4, 3, 2, 5), 5)
    for name, tensor, rows_of in [
        ("kDecovFeatures", features, lambda t: t),
        ("kDecovChannelMeans", maps, lambda t: t.mean((2, 3))),
        ("kDecovPixels", maps, lambda t: t.swapaxes(0, 1).reshape((3, -1)).T),
    ]:
        c = np.cov(rows_of(tensor).T, bias=True)
        value = 0.5 * (np.linalg.norm(c)**2 - np.linalg.norm(np.diag(c))**2)
        print_one_tensor(name, tensor, 5, value, lambda t, r=rows_of: decov_torch(r(t)))


def decov_torch(rows):
    c = torch.cov(rows.T, correction=0)
    return 0.5 * (c.square().sum() - c.diagonal().square().sum())


def main():
    cases = []
    for delta in [1e-2, 0.3]:
        smooth = lambda r, d=delta: (r * r + d * d) ** 0.5 - d
        cases.append(("kCov" + ("" if delta == 1e-2 else "WideDelta"),
                      lambda layers, phi=smooth: correlation_value(phi, layers, "abc"),
                      lambda w, layers, phi=smooth: correlation_torch(phi, w, layers, "abc")))
    square = lambda r: r * r
    cases.append(("kSquaredCorrelation", lambda layers: correlation_value(square, layers, "abc"),
                  lambda w, layers: correlation_torch(square, w, layers, "abc")))
    cases.append(("kSquaredCorrelationPointwise", lambda layers: correlation_value(square, layers, "abcd"),
                  lambda w, layers: correlation_torch(square, w, layers, "abcd")))
    for mean in [False, True]:
        cases.append(("kKernelCov" + ("Mean" if mean else "Sum"),
                      lambda layers, m=mean: kernel_cov_value(layers, "abc", m),
                      lambda w, layers, m=mean: kernel_cov_torch(w, layers, "abc", m)))
    for name, names, filters, channels, sized in [("kGroupLassoFilters", "abcd", True, False, False),
                                                  ("kGroupLassoChannelsSized", "abcd", False, True, True),
                                                  ("kGroupLassoBothSized", "abcd", True, True, True)]:
        cases.append((name, lambda layers, a=(names, filters, channels, sized): group_lasso_value(layers, *a),
                      lambda w, layers, a=(names, filters, channels, sized): group_lasso_torch(w, layers, *a)))
    for name, sides, mean in [("kOrthogonality", ["filters"], False), ("kOrthogonalityInputsMean", ["inputs"], True),
                              ("kOrthogonalityBothMean", ["filters", "inputs"], True)]:
        cases.append((name, lambda layers, a=("abcd", sides, mean): orthogonality_value(layers, *a),
                      lambda w, layers, a=("abcd", sides, mean): orthogonality_torch(w, layers, *a)))
    for name, iterations, squared in [("kSrip", 1, False), ("kSripThreeSquared", 3, True)]:
        cases.append((name, lambda layers, a=("abcd", iterations, squared): srip_value(layers, *a),
                      lambda w, layers, a=("abcd", iterations, squared): srip_torch(w, layers, *a)))
    cases.append(("kSripRepository", lambda layers: srip_repository_value(layers, "abcd"),
                  lambda w, layers: srip_repository_torch(w, "abcd")))
    for name, decay, mean in [("kOrthoreg", 10, False), ("kOrthoregWideMean", 3, True), ("kOrthoregAll", None, False)]:
        numpy_psi = (lambda c: c * c) if decay is None else lambda c, d=decay: np.log(1 + np.exp(d * (c - 1)))
        torch_psi = (lambda c: c * c) if decay is None else lambda c, d=decay: (1 + (d * (c - 1)).exp()).log()
        cases.append((name, lambda layers, p=numpy_psi, m=mean: orthoreg_value(layers, "abcd", p, m),
                      lambda w, layers, p=torch_psi, m=mean: orthoreg_torch(w, layers, "abcd", p, m)))
    for name, ratio in [("kZhuDecorrelation", 0), ("kZhuDecorrelationWithGroupLasso", 0.25)]:
        cases.append((name, lambda layers, r=ratio: zhu_value(layers, "abc", r),
                      lambda w, layers, r=ratio: zhu_torch(w, layers, "abc", r)))
    cases.append(("kTpp", lambda layers: tpp_value(layers, "abcd", 0.5),
                  lambda w, layers: tpp_torch(w, layers, "abcd", 0.5)))
    cases.append(("kPaperZero", lambda layers: kernel_cov_value({"c": layers["c"]}, "c", False), None))

    print("// Written by tools/reference/regularizers_values.py (numpy %s, torch %s); do not edit." %
          (np.__version__, torch.__version__.split("+")[0]))
    print("""#pragma once

namespace prunelab::reference {

// Of FormulaLayers (example_layers.h), "a" to "d": the penalty, and of its gradient in each layer the projection on
// FormulaDirection and the norm.
struct PenaltyValues {
  double value;
  double projection[4];
  double norm[4];
};
""")
    for name, value_of, torch_value_of in cases:
        for masked in [False, True]:
            layers = formula_layers(masked)
            value = value_of(layers)
            projections, norms = [0.0] * 4, [0.0] * 4
            if torch_value_of:
                weights = {n: torch.tensor(w, requires_grad=True) for n, (w, _) in layers.items()}
                by_torch = torch_value_of(weights, layers)
                assert abs(by_torch.item() - value) <= 1e-13 * abs(value), (name, by_torch.item(), value)
                by_torch.backward()
                for index, (n, weight) in enumerate(weights.items()):
                    if weight.grad is not None:
                        projections[index] = float((weight.grad.numpy() * direction(weight.shape, index)).sum())
                        norms[index] = float(weight.grad.norm())
            print("inline constexpr PenaltyValues %s%s = {\n    %r,\n    {%s},\n    {%s}};" %
                  (name, "Masked" if masked else "", float(value), ", ".join(map(repr, projections)),
                   ", ".join(map(repr, norms))))
    print("""
// mean_abs_rho of the layers with kernels larger than 1x1.""")
    for masked in [False, True]:
        value = correlation_value(abs, formula_layers(masked), "abc") / 3
        print("inline constexpr double kMeanAbsRho%s = %r;" % ("Masked" if masked else "", float(value)))
    print("""
// The sum over the layers of the largest |eigenvalue| of W W^T - I, the weights being ten times FormulaLayers'.""")
    rows = [10 * live_rows(formula_layers(False), name) for name in "abcd"]
    norms = [np.linalg.norm(w @ w.T - np.eye(len(w)), 2) for w in rows]
    print("inline constexpr double kSpectralNorms = %r;" % float(sum(norms)))
    print_one_tensor_cases()
    print("\n}  // namespace prunelab::reference")


if __name__ == "__main__":
    main()
