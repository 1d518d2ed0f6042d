"""Labels at the end of the ranking tell how far a label at each place may be trusted."""

import io

import pytest
import torch
from rank_tools import on_ranks

from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.label_trust import LEAST, LabelTrust, chances, wrong_share
from ast_experiments.selection.methods.ast import AST
from ast_experiments.selection.significance.loss import loss

CLASSES = 10


def classified(rows, wrong, *, prior=None, seed=0):
    """Logits of a network that ranks the right class first or nearly so, labels, and which of them are wrong."""
    random = torch.Generator().manual_seed(seed)
    share = torch.ones(CLASSES) if prior is None else prior
    truth = torch.multinomial(share, rows, replacement=True, generator=random)
    logits = torch.randn(rows, CLASSES, generator=random)
    logits[torch.arange(rows), truth] += 3
    logits += (share / share.sum()).log()
    is_wrong = torch.rand(rows, generator=random) < wrong
    others = torch.randint(1, CLASSES, (rows,), generator=random)
    return logits, torch.where(is_wrong, (truth + others) % CLASSES, truth), is_wrong


def test_chances_are_those_of_the_mixture():
    right = torch.tensor([6000.0, 1000, 400, 200, 100, 40, 0, 0, 0, 0])
    wrong = torch.tensor([0.0, *[200] * 9])
    found = chances(right + wrong, float(wrong.sum() / (right + wrong).sum()))
    assert found[1:6] == pytest.approx((right / (right + wrong))[1:6], abs=1e-5)
    assert (found[6:] <= 0.02).all()
    assert (found[:-1] >= found[1:]).all()


def test_wrong_labels_are_in_all_classes():
    labels = torch.tensor([1000.0, 800, 600, 400, 300, 200, 100, 60, 40, 20])
    assert wrong_share(labels, 0.2 * labels * 4 / 9) == pytest.approx(0.2)
    rare = torch.tensor([0.0, 0, 0, 0, 10, 20, 40, 40, 35, 20])
    assert wrong_share(labels, rare) == 0
    assert wrong_share(torch.zeros(10).index_fill_(0, torch.tensor(3), 5.0), torch.zeros(10)) == 0


def test_scores_keep_their_order_where_every_label_looks_wrong():
    assert chances(torch.tensor([0.0, *[1000] * 9]), 1.0)[1:].tolist() == pytest.approx([LEAST] * 9)
    assert chances(torch.zeros(CLASSES), 0.0).tolist() == [1.0] * CLASSES


@pytest.mark.parametrize("wrong", [0.0, 0.2, 0.4])
def test_wrong_labels_are_trusted_less(wrong):
    trust = LabelTrust()
    assert trust.of(*classified(20_000, wrong)[:2]) is None
    trust.commit(0)
    logits, labels, is_wrong = classified(20_000, wrong, seed=1)
    found = trust.of(logits, labels)
    assert found[~is_wrong].mean() > 0.9
    if wrong:
        hard = logits.argmax(dim=1) != labels
        assert found[is_wrong].mean() < 0.4
        assert float(found[hard].mean()) == pytest.approx(float((~is_wrong[hard]).float().mean()), abs=0.1)


def test_right_labels_of_rare_classes_are_trusted():
    prior = torch.logspace(0, -2, CLASSES)
    trust = LabelTrust()
    trust.of(*classified(50_000, 0.0, prior=prior)[:2])
    trust.commit(0)
    logits, labels, _ = classified(50_000, 0.0, prior=prior, seed=1)
    trust.of(logits, labels)
    trust.commit(1)
    logits, labels, _ = classified(50_000, 0.0, prior=prior, seed=2)
    assert trust.of(logits, labels)[labels == CLASSES - 1].mean() > 0.9


def test_other_outputs_are_left_alone():
    trust = LabelTrust()
    labels = torch.zeros(8, dtype=torch.int64)
    for logits in (None, torch.randn(8, 4), torch.randn(8, CLASSES, 3)):
        assert trust.of(logits, labels) is None
    assert trust.of(torch.randn(8, CLASSES), None) is None
    trust.commit(0)


def test_probabilities_count_as_their_most_probable_class():
    hard, soft = LabelTrust(), LabelTrust()
    for seed in range(2):
        logits, labels, _ = classified(2000, 0.3, seed=seed)
        probabilities = 0.8 * torch.nn.functional.one_hot(labels, CLASSES) + 0.02
        a, b = hard.of(logits, labels), soft.of(logits, probabilities)
        hard.commit(seed)
        soft.commit(seed)
    assert torch.equal(a, b)


def test_a_checkpoint_in_the_middle_of_an_epoch():
    whole, begun, resumed = LabelTrust(), LabelTrust(), LabelTrust()
    batches = [classified(500, 0.3, seed=seed)[:2] for seed in range(6)]
    for trust in (whole, begun):
        trust.of(*batches[0])
        trust.commit(0)
        trust.of(*batches[1])
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for trust in (whole, resumed):
        trust.of(*batches[2])
        trust.commit(1)
    assert torch.equal(whole.of(*batches[3]), resumed.of(*batches[3]))


def test_ranks_learn_from_the_labels_of_all(monkeypatch):
    logits, labels, _ = classified(3000, 0.3)
    one = LabelTrust()
    one.of(logits, labels)
    one.commit(0)

    def work(rank):
        trust = LabelTrust()
        if rank < 2:  # the third one trains nothing
            trust.of(logits[rank::2], labels[rank::2])
        trust.commit(0)
        return trust.of(logits, labels)

    for found in on_ranks(monkeypatch, 3, work):
        assert torch.equal(found, one.of(logits, labels))


def doubt_after(*epochs):
    trust = LabelTrust()
    for number, (logits, labels, _) in enumerate(epochs):
        trust.of(logits, labels)
        trust.commit(number)
    return trust.doubt


def test_doubt_grows_with_the_share_of_wrong_labels():
    assert LabelTrust().doubt == 0
    assert doubt_after(classified(20_000, 0.0)) < 0.1
    assert doubt_after(classified(20_000, 0.1)) == pytest.approx(0.5, abs=0.15)
    assert doubt_after(classified(20_000, 0.3)) == 1


def test_rare_classes_raise_no_doubt():
    prior = torch.logspace(0, -2, CLASSES)
    assert doubt_after(*(classified(50_000, 0.0, prior=prior, seed=seed) for seed in range(3))) < 0.1


def test_doubt_outlasts_the_time_when_wrong_labels_are_known_by_heart():
    logits, labels, wrong = classified(20_000, 0.2, seed=1)
    known, half = logits.clone(), wrong & (torch.arange(len(wrong)) % 2 == 0)
    known[half] += 6 * torch.nn.functional.one_hot(labels[half], CLASSES)
    first = classified(20_000, 0.2)
    assert doubt_after(first, (known, labels, wrong)) == doubt_after(first) > 0.8


def test_the_more_wrong_labels_the_more_rows_are_uniform():
    shares = []
    for wrong in (0.0, 0.1, 0.4):
        method = AST(PI(), loss)
        method.trust.of(*classified(20_000, wrong)[:2])
        method.trust.commit(0)
        shares.append(method._uniform_share)
    assert shares[0] == 0.3
    assert 0.3 < shares[1] < 0.8
    assert shares[2] == 1
    assert AST(PI(), loss, noise_robust=False).trust is None
