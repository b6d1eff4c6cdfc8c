;;; mailsync-remote-test.el --- Stores on servers, as the user sees them  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What the module tells of the programs that watch servers, and what becomes
;; of that in the mode line, the status, the log and the hooks; and an account
;; without a maildir, with real programs.

;;; Code:

(require 'mailsync-sync-test-helper)
(require 'mailsync-remote)

(defmacro remote-test-with (&rest body)
  "Run BODY with an account \"w\" of which nothing is known so far.
There `said' is what the user was told, `hooks' the states, newest first."
  (declare (indent 0))
  `(let* ((said nil) (hooks nil)
          (mailsync-mode t)
          (mailsync--said nil)
          (mailsync-accounts--faults nil)
          (mailsync-sync--states nil)
          (mailsync-remote--states nil)
          (mailsync--checking nil)
          (mailsync--states '(("w" watching . "")))
          (mailsync-accounts--valid '(("w" :remote (watcher "x"))))
          (mailsync-state-change-functions
           (list (lambda (_ state) (push state hooks)))))
     (cl-letf (((symbol-function 'message)
                (lambda (format &rest args)
                  (push (apply #'format format args) said))))
       ,@body)))

(defun remote-test-notice (state text &optional account number)
  "The module tells that a store is in STATE, with TEXT.
ACCOUNT is \"w\", and NUMBER 0, if they are nil."
  (mailsync--notice (list "remote" (or account "w") (format "%s" (or number 0))
                          "ssh host" state text)))

(ert-deftest remote-test-offline ()
  "A server that cannot be watched is in the mode line, and its return is news."
  (remote-test-with
    (remote-test-notice "starting" "")
    (remote-test-notice "connected" "")
    (should (equal (mailsync-mode-line--summary) '("watching")))
    (should-not hooks)
    (remote-test-notice "waiting" "ssh exited with 255")
    (should (equal (mailsync-mode-line--summary) '("offline" . t)))
    (should (string-search "server offline: ssh exited with 255"
                           (mailsync-mode-line--tooltip)))
    ;; Another try that fails is the same trouble.
    (remote-test-notice "waiting" "ssh exited with 1")
    (should (equal hooks '(offline)))
    (remote-test-notice "connected" "")
    (should (equal hooks '(watching offline)))
    (should (equal (mailsync-mode-line--summary) '("watching")))
    (should-not said)))

(ert-deftest remote-test-starting ()
  "The first connection may take a while, in which nothing is watched."
  (remote-test-with
    (remote-test-notice "starting" "")
    (should (equal (mailsync-mode-line--summary) '("starting")))
    (remote-test-notice "connected" "")
    (should (equal (mailsync-mode-line--summary) '("watching")))
    ;; As after a sleep, when it takes a moment.
    (remote-test-notice "starting" "")
    (should (equal (mailsync-mode-line--summary) '("watching")))))

(ert-deftest remote-test-nothing-here ()
  "An account without a maildir is what its stores are."
  (let ((table '(("starting" . "starting") ("connected" . "watching")
                 ("waiting" . "offline") ("paused" . "paused"))))
    (pcase-dolist (`(,state . ,word) table)
      (remote-test-with
        (cl-letf (((symbol-function 'mailsync-module--status)
                   (lambda () '(:accounts ((:name "w" :state watching :pending 0))))))
          (remote-test-notice state "x")
          (should (string-prefix-p (concat "w: " word)
                                   (mailsync-mode-line--tooltip)))
          (should (string-match-p (concat "^w: " word "$")
                                  (mailsync-status--text)))
          (let ((mailsync-accounts--valid
                 '(("w" :maildir ("/x") :remote (watcher "x")))))
            (should (string-prefix-p "w: watching"
                                     (mailsync-mode-line--tooltip)))))))))

(ert-deftest remote-test-paused ()
  "What waits for the user is said, once, with what to do."
  (remote-test-with
    (dotimes (_ 2)
      (remote-test-notice "paused" "ssh exited with 127"))
    (should (equal (mailsync-mode-line--summary) '("paused" . t)))
    (should (= 1 (length said)))
    (should (string-match-p "\"w\".*not watched: ssh exited with 127.*mailsync-resume"
                            (car said)))
    (should (equal hooks '(paused)))
    (should (equal (mailsync-remote-paused-accounts) '("w")))
    ;; It has no syncer, and can be resumed all the same.
    (let (resumed)
      (cl-letf (((symbol-function 'mailsync-module--pause)
                 (lambda (&rest args) (push args resumed))))
        (mailsync-resume "w")
        (mailsync-resume)
        (should (equal resumed '((nil nil) ("w" nil))))
        (should-error (mailsync-pause "w") :type 'user-error)
        (remote-test-notice "connected" "")
        (should-error (mailsync-resume "w") :type 'user-error)))))

(ert-deftest remote-test-sentence ()
  "What a server says may be a sentence, after which ours goes on."
  (remote-test-with
    (remote-test-notice "paused" "Authentication failed.")
    (should (string-search "Authentication failed; then M-x mailsync-resume"
                           (car said)))))

(ert-deftest remote-test-gone ()
  "What is configured no longer is forgotten, and what comes late is nobody's."
  (remote-test-with
    (remote-test-notice "waiting" "x")
    (remote-test-notice "waiting" "y" nil 1)
    (remote-test-notice "gone" "")
    (should (equal (mapcar #'car mailsync-remote--states) '(("w" . 1))))
    (remote-test-notice "waiting" "x" "other")
    (should (= 1 (length mailsync-remote--states)))
    (mailsync-remote-keep '("v"))
    (should-not mailsync-remote--states)))

(ert-deftest remote-test-status ()
  "The buffer shows each store: what, how, since when, and when it is tried again."
  (with-temp-buffer
    (mailsync-remote-insert (list :what "ssh host" :state 'connected :text ""
                                  :since 60.0 :news 1.0 :next nil))
    (should (string-match-p
             "\\`  server, by ssh host: connected since [0-9:]+.*, last news at [0-9:]+\n\\'"
             (buffer-string))))
  (with-temp-buffer
    (mailsync-remote-insert (list :what "ssh host" :state 'waiting
                                  :text "ssh exited with 255"
                                  :since 60.0 :news nil :next 5.0))
    (should (string-match-p
             "by ssh host: offline since .*, next try .*\n    ssh exited with 255\n\\'"
             (buffer-string))))
  (with-temp-buffer
    (mailsync-remote-insert (list :what "ssh host" :state 'waiting
                                  :text "ssh exited with 255"
                                  :since 60.0 :news nil :next nil))
    (should (string-match-p
             "by ssh host: offline since .*, being tried\n    ssh exited with 255\n\\'"
             (buffer-string)))))

(defmacro remote-test-with-changes (&rest body)
  "Run BODY, with what the hook is told in `test-changes', newest first."
  (declare (indent 0))
  `(let ((mailsync-changed-functions
          (list (lambda (_ changes)
                  (setq test-changes (append (reverse changes) test-changes))))))
     ,@body))

(defmacro remote-test-account (script &rest body)
  "Run BODY with an account \"w\" that has no maildir, and a watcher that is SCRIPT."
  (declare (indent 1))
  `(let* ((root (file-truename (make-temp-file "mailsync-remote" t)))
          (test-changes nil)
          (mailsync-coalesce-delay 0.02)
          (mailsync-accounts
           (list (list "w" :remote
                       (list 'watcher "sh" "-c" ,script "sh" root)))))
     (unwind-protect
         (remote-test-with-changes
           (mailsync-mode 1)
           ,@body)
       (mailsync-mode -1)
       (delete-directory root t))))

(ert-deftest remote-test-without-maildir ()
  "A change there is a change of a folder that has no directory."
  (remote-test-account "echo; echo lists.emacs; exec cat"
    (test-wait (lambda () test-changes))
    (let ((change (car test-changes)))
      (should (equal (plist-get change :account) "w"))
      (should (equal (plist-get change :folder) "lists/emacs"))
      (should (plist-member change :directory))
      (should-not (plist-get change :directory))
      (should (equal (plist-get change :kinds) '(unknown)))
      (should (equal (plist-get change :origins) '(remote))))
    (let ((remote (car (plist-get (car (plist-get (mailsync-module--status)
                                                  :accounts))
                                  :remotes))))
      (should (eq (plist-get remote :state) 'connected))
      (should (numberp (plist-get remote :since)))
      (should (string-prefix-p "sh -c echo" (plist-get remote :what))))
    (with-temp-buffer
      (insert (mailsync-status--text))
      (goto-char (point-min))
      (should (search-forward "server, by sh -c echo" nil t)))))

(ert-deftest remote-test-everything ()
  "What nobody saw is checked where Gnus does not know better: what was heard of."
  (let ((checked nil))
    (let ((mailsync-check-function
           (lambda (_ changes done)
             (push (mapcar (lambda (change) (plist-get change :folder)) changes)
                   checked)
             (funcall done nil))))
      (remote-test-account "echo; echo a; sleep 0.5; echo b; sleep 0.5; echo; exec cat"
        (test-wait (lambda () (seq-find (lambda (it) (equal (sort (copy-sequence it)
                                                                  #'string<)
                                                            '("a" "b")))
                                        checked)))))))

(provide 'mailsync-remote-test)
;;; mailsync-remote-test.el ends here
