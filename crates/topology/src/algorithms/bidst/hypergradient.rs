//! The hypergradient on a random quadratic loss ℓ(z) = ½·zᵀQz − bᵀz whose lower level is solved exactly.

use super::*;
use crate::rng::{self, Purpose};

const N: usize = 9;
const ACTIVE: [usize; 5] = [0, 2, 3, 6, 8];
const LAMBDA: f64 = 0.3;

type Vector = [f64; N];
type Matrix = [Vector; N];

struct Problem {
    q: Matrix,
    b: Vector,
}

impl Problem {
    fn random() -> Self {
        let mut rng = Streams::new(11).stream(Purpose::Other, 0, 0);
        let root: Matrix = std::array::from_fn(|_| std::array::from_fn(|_| rng::normal(&mut rng)));
        let q = std::array::from_fn(|i| std::array::from_fn(|j| (0..N).map(|k| root[i][k] * root[j][k]).sum::<f64>()));
        Self { q, b: std::array::from_fn(|_| rng::normal(&mut rng)) }
    }

    fn gradient(&self, z: &Vector) -> Vector {
        std::array::from_fn(|i| dot(&self.q[i], z) - self.b[i])
    }

    fn loss(&self, z: &Vector) -> f64 {
        (0..N).map(|i| 0.5 * z[i] * dot(&self.q[i], z) - self.b[i] * z[i]).sum()
    }

    /// MQM + λI.
    fn system(&self, m: &Vector) -> Matrix {
        std::array::from_fn(|i| {
            std::array::from_fn(|j| m[i] * self.q[i][j] * m[j] + if i == j { LAMBDA } else { 0.0 })
        })
    }

    /// θ*(m), from stationarity of the lower level: (MQM + λI)·θ = M·b.
    fn weights(&self, m: &Vector) -> Vector {
        solve(self.system(m), std::array::from_fn(|i| m[i] * self.b[i]))
    }

    fn upper(&self, m: &Vector) -> f64 {
        self.loss(&times(m, &self.weights(m)))
    }

    /// θ⊙g + (dθ/dm)ᵀ·(m⊙g) with (MHM + λI)·dθ/dm = −(diag(g) + M·H·diag(θ)).
    fn exact(&self, m: &Vector) -> Vector {
        let theta = self.weights(m);
        let g = self.gradient(&times(m, &theta));
        std::array::from_fn(|i| {
            let column = |j: usize| -m[j] * self.q[j][i] * theta[i] - if i == j { g[i] } else { 0.0 };
            let response = solve(self.system(m), std::array::from_fn(column));
            theta[i] * g[i] + dot(&response, &times(m, &g))
        })
    }
}

fn dot(a: &Vector, b: &Vector) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn times(a: &Vector, b: &Vector) -> Vector {
    std::array::from_fn(|i| a[i] * b[i])
}

/// Gaussian elimination; the systems here are symmetric positive definite, so no pivoting is needed.
fn solve(mut a: Matrix, mut b: Vector) -> Vector {
    for pivot in 0..N {
        for row in pivot + 1..N {
            let factor = a[row][pivot] / a[pivot][pivot];
            let above = a[pivot];
            a[row].iter_mut().zip(above).for_each(|(x, y)| *x -= factor * y);
            b[row] -= factor * b[pivot];
        }
    }
    let mut x = [0.0; N];
    for row in (0..N).rev() {
        x[row] = (b[row] - dot(&a[row], &x)) / a[row][row];
    }
    x
}

fn binary_mask() -> Vector {
    std::array::from_fn(|i| if ACTIVE.contains(&i) { 1.0 } else { 0.0 })
}

fn approximate(form: ImplicitForm, active: bool, theta: f64, g: f64) -> f64 {
    let c = 1.0 / LAMBDA;
    let c_inactive = if form == ImplicitForm::A { 0.0 } else { c };
    let rule = Rule { score: Score::Bilevel, c, c_inactive, lambda: LAMBDA, stationary: false };
    let gradient = Evidence { mean: g, square: g * g };
    -if active { rule.keep(theta, gradient, 0.0) } else { rule.grow(theta, gradient, 0.0) }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9 * (1.0 + a.abs())
}

#[test]
fn the_exact_formula_agrees_with_central_differences() {
    let problem = Problem::random();
    let relaxed = std::array::from_fn(|i| 0.2 + 0.1 * i as f64);
    for m in [binary_mask(), relaxed] {
        for (i, exact) in problem.exact(&m).into_iter().enumerate() {
            let moved = |by: f64| problem.upper(&std::array::from_fn(|j| m[j] + if i == j { by } else { 0.0 }));
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((difference - exact).abs() < 1e-8, "{difference} {exact}");
        }
    }
}

#[test]
fn on_inactive_positions_the_exact_hypergradient_and_form_a_are_zero_and_form_b_is_not() {
    let problem = Problem::random();
    let m = binary_mask();
    let theta = problem.weights(&m);
    let g = problem.gradient(&times(&m, &theta));
    let exact = problem.exact(&m);
    for i in (0..N).filter(|i| !ACTIVE.contains(i)) {
        assert_eq!((theta[i], exact[i]), (0.0, 0.0));
        assert_eq!(approximate(ImplicitForm::A, false, theta[i], g[i]), 0.0);
        assert!(close(approximate(ImplicitForm::B, false, theta[i], g[i]), -g[i] * g[i] / LAMBDA));
    }
}

#[test]
fn on_active_positions_both_forms_are_twice_the_weight_decay_energy() {
    let problem = Problem::random();
    let m = binary_mask();
    let theta = problem.weights(&m);
    let g = problem.gradient(&times(&m, &theta));
    for i in ACTIVE {
        assert!(close(g[i], -LAMBDA * theta[i]));
        for form in [ImplicitForm::A, ImplicitForm::B] {
            assert!(close(approximate(form, true, theta[i], g[i]), -2.0 * LAMBDA * theta[i] * theta[i]));
        }
    }
}
