;;; mailsync-sync-test.el --- Syncs, with real processes  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The engine runs real programs here (see mailsync-sync-test-helper.el).  Real
;; syncers are sync.py's business, when what is due the scheduler's own tests'.

;;; Code:

(require 'mailsync-sync-test-helper)

(ert-deftest sync-test-a-change-is-synced ()
  (sync-test-with "echo hello" `(mailsync-command ,program "x" "%f")
    (test-deliver (expand-file-name ".a" mail))
    (let ((result (sync-test-wait 1)))
      (should (equal (sync-test-calls root) '("run <x> <a>")))
      (should (eq (plist-get result :status) 'ok))
      (should (eql (plist-get result :exit-code) 0))
      (should (equal (plist-get result :folders) '("a")))
      (should (equal (car (last sync-test-events)) '(before "w" ("a"))))
      (with-current-buffer (plist-get result :output-buffer)
        (should (string-match-p "hello" (buffer-string))))
      (should (string-match-p "w: syncing a\n" (test-log)))
      (should (string-match-p "w: synced a in " (test-log)))
      (test-wait (lambda () (eq (sync-test-phase) 'idle))))))

(ert-deftest sync-test-at-start-everything ()
  (sync-test-with "" `(mailsync-command ,program "%f" :all-args ("all"))
    (should-not (sync-test-calls root))
    (mailsync-mode -1)
    (let ((mailsync-sync-at-start t))
      (mailsync-mode 1)
      (sync-test-wait 1)
      (should (equal (sync-test-calls root) '("run <all>"))))))

(ert-deftest sync-test-a-wish ()
  "A wish for folders goes to the syncer as it is, and is answered."
  (sync-test-with "" `(mailsync-command ,program "%f" :naming imap)
    (let (answer)
      (mailsync-sync "w" '("b c" "Entwürfe") (lambda (result)
                                               (setq answer result)))
      (test-wait (lambda () answer))
      (should (equal (sync-test-calls root) '("run <Entw&APw-rfe> <b c>")))
      (should (equal (plist-get answer :folders) '("Entwürfe" "b c"))))))

(ert-deftest sync-test-a-failure-is-said-once-with-what-it-printed ()
  (sync-test-with "test -e fine || { echo the server is gone >&2; exit 3; }"
      `(mailsync-command ,program)
    (let (mailsync-inter-delay)
      (mailsync-sync "w")
      (let ((result (sync-test-wait 1)))
        (should (eq (plist-get result :status) 'transient))
        (should (eql (plist-get result :exit-code) 3))
        (should (string-match-p "the server is gone" (plist-get result :text))))
      (test-wait (lambda () (eq (sync-test-phase) 'failing)))
      (should (equal (car (mailsync-mode-line--summary)) "failing"))
      (mailsync-sync "w")
      (sync-test-wait 2)
      (test-wait (lambda () (eq (sync-test-phase) 'failing)))
      (should (= 1 (seq-count (lambda (text)
                                (string-match-p "the server is gone" text))
                              sync-test-said)))
      (write-region "" nil (expand-file-name "fine" root) nil 'silent)
      (mailsync-sync "w")
      (sync-test-wait 3)
      (test-wait (lambda () (eq (sync-test-phase) 'idle)))
      (should (seq-find (lambda (text)
                          (string-match-p "can be synced again" text))
                        sync-test-said)))))

(ert-deftest sync-test-pause-and-resume ()
  (sync-test-with "" `(mailsync-command ,program "%f")
    (mailsync-pause)
    (test-wait (lambda () (eq (sync-test-phase) 'paused)))
    (test-deliver (expand-file-name ".a" mail))
    (test-wait (lambda () (test-changed "a")))
    (should (equal (car (mailsync-mode-line--summary)) "paused"))
    (should-not (sync-test-calls root))
    (should-not sync-test-said)
    (call-interactively #'mailsync-pause)
    (call-interactively #'mailsync-resume)
    (should (equal sync-test-said
                   '("mailsync: all accounts are synced again"
                     "mailsync: all syncs are paused; M-x mailsync-resume ends that")))
    (sync-test-wait 1)
    (should (equal (sync-test-calls root) '("run <a>")))))

(ert-deftest sync-test-a-check-comes-first ()
  "A sync that a local change asks for waits for the check of its folder."
  (let* ((waiting nil)
         (mailsync-check-function
          (lambda (_account changes done)
            (push (cons (mapcar (lambda (change) (plist-get change :folder))
                                changes)
                        done)
                  waiting))))
    (sync-test-with "" `(mailsync-command ,program "%f")
      (let ((mailsync-check-timeout 10))
        (test-deliver (expand-file-name ".a" mail))
        (test-wait (lambda () (test-changed "a" 'new)))
        ;; Longer than it takes without (see the first test).
        (let ((end (+ (float-time) 2)))
          (test-wait (lambda () (> (float-time) end))))
        (should-not (sync-test-calls root))
        (let ((began (float-time)))
          (pcase-dolist (`(,_ . ,done) waiting)
            (funcall done nil))
          (sync-test-wait 1)
          ;; By the answer, and not since nobody answered.
          (should (< (- (float-time) began) 5)))))))

(ert-deftest sync-test-hooks-that-signal ()
  (sync-test-with "" `(mailsync-command ,program "%f")
    (let ((mailsync-before-sync-functions
           (list (lambda (&rest _) (error "Before")) (sync-test-note 'before)))
          (mailsync-after-sync-functions
           (list (lambda (&rest _) (error "After")) (sync-test-note 'after))))
      (mailsync-sync "w" '("a") (lambda (_) (error "Callback")))
      (sync-test-wait 1)
      (mailsync-sync "w" '("a"))
      (sync-test-wait 2)
      (dolist (text '("signals: Before" "signals: After" "signals: Callback"))
        (should (= 1 (seq-count (lambda (said) (string-match-p text said))
                                sync-test-said)))))))

(ert-deftest sync-test-a-function-of-ones-own-before-each-run ()
  (let (asked)
    (sync-test-with ""
        (lambda (account &rest args)
          (push (cons account args) asked)
          (list :command (list program (if (plist-member args :folders)
                                           (format "%S" (plist-get args :folders))
                                         "first"))
                :per-run t))
      (mailsync-sync "w" '("a"))
      (sync-test-wait 1)
      (should (equal (sync-test-calls root) '("run <(\"a\")>")))
      (should (equal (car asked) '("w" :folders ("a")))))))

(ert-deftest sync-test-an-answer-covers-its-folders-only ()
  "What a function says before a run is for those folders; others stay to be synced."
  (let ((fail nil))
    (sync-test-with ""
        (lambda (_ &rest args)
          (when fail
            (setq fail nil)
            (error "On purpose"))
          (list :command (cons program (or (plist-get args :folders) '("all")))
                :per-run t))
      (mailsync-sync "w" '("a"))
      (sync-test-wait 1)
      (setq fail t)
      (mailsync-sync "w" '("b c"))
      (sync-test-wait 2)
      (mailsync-sync "w" '("b c"))
      (sync-test-wait 3)
      (should (equal (sync-test-calls root)
                     '("run <a>" "run <all>" "run <b c>"))))))

(ert-deftest sync-test-a-function-that-signals-before-a-run ()
  "What it signals is shown once, and is in the log each time."
  (let ((why nil))
    (sync-test-with ""
        (lambda (&rest _)
          (when why
            (error why))
          (list :command (list program) :per-run t))
      (setq why "Oh dear")
      (mailsync-sync "w" '("a"))
      (sync-test-wait 1)
      (mailsync-sync "w" '("a"))
      (sync-test-wait 2)
      (setq why "Oh no")
      (mailsync-sync "w" '("a"))
      (should (eq (plist-get (sync-test-wait 3) :status) 'ok))
      (pcase-dolist (`(,text ,shown ,logged) '(("Oh dear" 1 2) ("Oh no" 1 1)))
        (let ((text (concat "account \"w\", :syncer .*signals: " text
                            "; mend .* of everything")))
          (should (= shown (seq-count (lambda (said) (string-match-p text said))
                                      sync-test-said)))
          (should (= logged
                     (sync-test-logged (concat "warning +" text)))))))))

(ert-deftest sync-test-syncer-that-is-quit ()
  "A syncer that C-g has ended when the accounts were read is asked again."
  (let ((quits 2)
        (mailsync--quit-pause 0.05))
    (sync-test-with ""
        (lambda (&rest _)
          (when (> quits 0)
            (setq quits (1- quits))
            (signal 'quit nil))
          (list :command (list program)))
      (test-wait (lambda () (eq (sync-test-phase) 'idle)))
      (should (= quits 0))
      (should (= 2 (sync-test-logged "warning +account \"w\", :syncer .*Quit; it is asked again")))
      (mailsync-sync "w" '("a"))
      (should (eq (plist-get (sync-test-wait 1) :status) 'ok)))))

(ert-deftest sync-test-known-folders ()
  "Folders are completed that were heard of, and that the account names."
  (let ((mailsync-sync--folders (make-hash-table :test #'equal))
        (mailsync-accounts--valid
         '(("w" :gnus-groups (("a" "nnml:x") ("b c" "nnml:y")))
           ("v" :gnus-groups ignore))))
    (mailsync-sync-heard-of "w" '("INBOX" "a"))
    (should (equal (sort (mailsync-sync--known-folders "w") #'string<)
                   '("INBOX" "a" "b c")))
    (mailsync-sync-heard-of-changes
     "w" '((:folder "x" :kinds (new)) (:folder "y" :kinds (folder-created unknown))
           (:folder "a" :kinds (folder-deleted))
           (:folder "INBOX" :kinds (folder-deleted))
           (:folder "INBOX" :kinds (folder-created folder-deleted))))
    ;; The account itself names "a".
    (should (equal (sort (mailsync-sync--known-folders "w") #'string<)
                   '("INBOX" "a" "b c" "x" "y")))
    (should-not (gethash "a" (gethash "w" mailsync-sync--folders)))
    (should-not (mailsync-sync--known-folders "v"))))

(defun sync-test-burden (count)
  "The time on the CPU, in seconds, that one event each of COUNT folders takes."
  (let* ((mailsync-sync--folders (make-hash-table :test #'equal))
         (mailsync--batches (make-hash-table :test #'eq))
         (mailsync--unchecked (make-hash-table :test #'equal))
         (mailsync--states '(("w" watching . "")))
         (mailsync-accounts--valid '(("w" :maildir "/m")))
         (mailsync--running (list t))
         (mailsync-changed-functions nil)
         waiting
         (mailsync-check-function (lambda (_account _changes done)
                                    (push done waiting)))
         (began (float-time (get-internal-run-time))))
    (cl-letf (((symbol-function 'mailsync-module--checked) #'ignore))
      (dotimes (i count)
        (mailsync--changed "w" (list (list :folder (format "f%d" i)
                                           :truename (format "/m/.f%d" i)
                                           :serial i))))
      (should (= (mailsync--pending) count))
      (mailsync--changed "w" (list (list :folder "f7" :truename "/m/.f7" :serial 7)))
      (should (= (mailsync--pending) count))
      (should (= (length (mailsync-sync--known-folders "w")) count))
      (funcall (pop waiting) nil)
      (should (= (mailsync--pending) count))
      (dolist (done waiting)
        (funcall done nil)
        (funcall done nil))
      (should (zerop (mailsync--pending)))
      (should (zerop (hash-table-count mailsync--batches)))
      (- (float-time (get-internal-run-time)) began))))

(ert-deftest sync-test-many-folders-are-no-burden ()
  "One event each of thousands of folders takes time that grows with their number."
  (let ((few (sync-test-burden 2000))
        (many (sync-test-burden 20000)))
    (message "sync-test-many-folders: %.3f s, %.3f s" few many)
    ;; Ten times as much, or a little more; with lists it was a hundred times, and minutes.
    (should (< many (* 40 few)))))

(ert-deftest sync-test-stop-answers-those-who-wait ()
  (let (answers)
    (sync-test-with "sleep 1000" `(mailsync-command ,program)
      (mailsync-sync "w" nil (lambda (result)
                               (push (plist-get result :status) answers)))
      (test-wait (lambda () (eq (sync-test-phase) 'running)))
      (mailsync-pause)
      (test-wait (lambda () (plist-get (mailsync-sync-state "w") :paused)))
      (should (eq (sync-test-phase) 'running))
      (setq mailsync-accounts (list (list "w" :maildir mail)))
      (mailsync-restart)
      (test-wait (lambda () answers))
      (setq mailsync-accounts (list (list "w" :maildir mail :syncer
                                          `(mailsync-command ,program))))
      (mailsync-restart)
      (mailsync-sync "w" nil (lambda (result)
                               (push (plist-get result :status) answers)))
      (test-wait (lambda () (eq (sync-test-phase) 'running)))
      (mailsync-mode -1)
      (should (equal answers '(interrupted interrupted))))))

(ert-deftest sync-test-stop-ends-what-began ()
  "The hooks hear of the end of each sync whose beginning they were told, once."
  (sync-test-with "test -e fine || sleep 1000" `(mailsync-command ,program)
    (write-region "" nil (expand-file-name "fine" root) nil 'silent)
    (mailsync-sync "w")
    (sync-test-wait 1)
    (delete-file (expand-file-name "fine" root))
    (let ((mailsync-after-sync-functions
           (cons (lambda (&rest _) (error "On purpose"))
                 mailsync-after-sync-functions)))
      (mailsync-sync "w" '("a" "b c"))
      (test-wait (lambda () (eq (caar sync-test-events) 'before)))
      (mailsync-mode -1)
      (mailsync--stop)
      (let ((results (sync-test-results)))
        (should (equal (mapcar (lambda (result) (plist-get result :status))
                               results)
                       '(ok interrupted)))
        (should (equal (plist-get (cadr results) :folders) '("a" "b c")))
        (should (string-match-p "stopped" (plist-get (cadr results) :text)))))
    (mailsync-mode 1)
    (test-watching "w")
    (write-region "" nil (expand-file-name "fine" root) nil 'silent)
    (mailsync-sync "w")
    (sync-test-wait 3)
    (mailsync-mode -1)
    (should (= (length (sync-test-results)) 3))))

(ert-deftest sync-test-started-anew-by-who-is-told-of-the-stop ()
  (sync-test-with "test -e fine || { touch fine; sleep 1000; }"
      `(mailsync-command ,program)
    (mailsync-sync "w" nil (lambda (_) (mailsync-mode 1)))
    (test-wait (lambda () (file-exists-p (expand-file-name "fine" root))))
    (mailsync-stop)
    (should mailsync-mode)
    (test-watching "w")
    (should (sync-test-phase))
    (mailsync-sync "w")
    (sync-test-wait 2)))

(ert-deftest sync-test-own-function-without-an-account ()
  (let* ((root (file-truename (make-temp-file "mailsync-sync" t)))
         (program (sync-test-script root ""))
         answers)
    (unwind-protect
        (progn
          (mailsync-run (lambda (_ &rest args)
                          (list :command (cons program (plist-get args :folders))
                                :per-run t))
                        '("INBOX")
                        (lambda (result) (push result answers)))
          (test-wait (lambda () answers))
          (should (equal (sync-test-calls root) '("run <INBOX>"))))
      (mailsync--stop)
      (delete-directory root t))))

(ert-deftest sync-test-a-syncer-without-an-account ()
  "It needs no account and no mode, and leaves nothing behind."
  (let* ((root (file-truename (make-temp-file "mailsync-sync" t)))
         (program (sync-test-script root "echo done"))
         answers)
    (unwind-protect
        (progn
          (should-not mailsync-mode)
          (mailsync-run `(mailsync-command ,program "%f") '("INBOX")
                        (lambda (result) (push result answers)))
          (mailsync-run `(mailsync-command ,program "other") nil
                        (lambda (result) (push result answers)))
          (test-wait (lambda () (= (length answers) 2)))
          (should (equal (sort (sync-test-calls root) #'string<)
                         '("run <INBOX>" "run <other>")))
          (test-wait (lambda () (zerop (mailsync-module--threads))))
          (should-not mailsync--running))
      (mailsync--stop)
      (delete-directory root t))))

(ert-deftest sync-test-a-syncer-without-an-account-fails-once ()
  (let* ((root (file-truename (make-temp-file "mailsync-sync" t)))
         (program (sync-test-script root "exit 1"))
         answers)
    (unwind-protect
        (progn
          (mailsync-run `(mailsync-command ,program) nil
                        (lambda (result) (push result answers)))
          (test-wait (lambda () answers))
          (should (eq (plist-get (car answers) :status) 'transient))
          (test-wait (lambda () (zerop (mailsync-module--threads))))
          (should (equal (sync-test-calls root) '("run <>"))))
      (mailsync--stop)
      (delete-directory root t))))

(ert-deftest sync-test-many-runs-are-forgotten ()
  "Of syncers that are no account's nothing is left, but the last few outputs."
  (let* ((root (file-truename (make-temp-file "mailsync-sync" t)))
         (program (sync-test-script root "echo done; exit $1"))
         (count 12)
         (answers 0)
         (inhibit-message t)
         mailsync--said)
    (unwind-protect
        (progn
          (dotimes (i count)
            (mailsync-run `(mailsync-command ,program ,(if (= i 3) "1" "0")
                                             ,(number-to-string i))
                          nil (lambda (_)
                                (setq answers (1+ answers))
                                (error "No two of them %d" i))))
          ;; What does not end keeps what is needed for that.
          (mailsync-run (lambda (&rest _)
                          (list :command (list program "0") :per-run t))
                        nil (lambda (_) (setq answers (1+ answers))))
          (should (= (hash-table-count mailsync-sync--syncers) (1+ count)))
          (should (gethash "function 1" mailsync-sync--syncers))
          (test-wait (lambda () (= answers (1+ count))))
          (should (zerop (hash-table-count mailsync-sync--syncers)))
          (should (zerop (hash-table-count mailsync-sync--requests)))
          (should (zerop (hash-table-count mailsync-sync--begun)))
          (should (zerop (hash-table-count mailsync-sync--told-times)))
          (should (<= 1 (seq-count (lambda (buffer)
                                     (string-match-p (concat root "\\|function 1")
                                                     (buffer-name buffer)))
                                   (buffer-list))
                      mailsync-sync--outputs-kept)))
      (mailsync--stop)
      (delete-directory root t))))

(ert-deftest sync-test-names-of-syncers ()
  "A syncer goes by how it is written; a function without a name has a number."
  (let ((mailsync-sync--syncers (make-hash-table :test #'equal))
        (one (lambda (&rest _) 1))
        (ring (list 'f "x")))
    (setcdr (cdr ring) ring)
    (should (equal (mailsync-sync--key 'f) "(f)"))
    (should (equal (mailsync-sync--key '(f "x" :y 1)) "(f \"x\" :y 1)"))
    (should (string-prefix-p "#1=" (mailsync-sync--key ring)))
    (should (equal (mailsync-sync--key one) "function 1"))
    (puthash "function 1" (list one) mailsync-sync--syncers)
    (should (equal (mailsync-sync--key one) "function 1"))
    (should (equal (mailsync-sync--key (list (lambda (&rest _) 2) "x"))
                   "function 2"))))

(ert-deftest sync-test-what-was-said-is-bounded ()
  (let ((mailsync--said nil)
        (inhibit-message t))
    (dotimes (i (* 2 mailsync-log--keys))
      (mailsync--once i 'info "%d" i))
    (should (= (length mailsync--said) mailsync-log--keys))
    (should (mailsync--said-p (1- (* 2 mailsync-log--keys))))))

(ert-deftest sync-test-bad-input ()
  "What cannot run says so, names what to mend, and stops nothing else."
  (dolist (case '(("/nowhere/at/all" config "/nowhere/at/all")
                  ("/" config "/")
                  ("no-such-program-anywhere" config "exec-path")))
    (pcase-let ((`(,name ,status ,text) case))
      (sync-test-with "" `(mailsync-command ,name)
        (mailsync-sync "w")
        (let ((result (sync-test-wait 1)))
          (should (eq (plist-get result :status) status))
          (should (string-match-p (regexp-quote text) (plist-get result :text))))
        (test-deliver (expand-file-name ".a" mail))
        (test-wait (lambda () (test-changed "a")))))))

(ert-deftest sync-test-stop-while-a-syncer-runs ()
  "Stopping returns at once, and nothing is left a moment later."
  (sync-test-with "sleep 1000 & echo $$ > pid; wait" `(mailsync-command ,program)
    (mailsync-sync "w")
    (let ((pid (test-wait
                (lambda ()
                  (ignore-errors
                    (with-temp-buffer
                      (insert-file-contents (expand-file-name "pid" root))
                      (let ((pid (string-to-number (buffer-string))))
                        (and (> pid 0) pid))))))))
      (should (process-attributes pid))
      (mailsync-mode -1)
      (test-wait (lambda () (zerop (mailsync-module--threads))))
      (should-not (process-attributes pid)))))

(ert-deftest sync-test-one-account-in-two-instances ()
  "The second one waits, says who syncs, and takes over."
  (sync-test-with "" `(mailsync-command ,program)
    (test-wait (lambda () (eq (sync-test-phase) 'idle)))
    (mailsync-sync "w")
    (sync-test-wait 1)
    (let ((form `(progn
                   (setq mailsync-accounts ',mailsync-accounts
                         mailsync-sync-at-start nil)
                   (mailsync-mode 1)
                   (let ((end (+ (float-time) 20)) seen)
                     (while (and (not seen) (< (float-time) end))
                       (accept-process-output nil 0.05)
                       (setq seen (plist-get (cdar mailsync-sync--states) :text))
                       (when (equal seen "") (setq seen nil)))
                     (princ seen)))))
      (with-temp-buffer
        (test-emacs "-l" "mailsync" "--eval" (format "%S" form))
        (should (string-match-p (format "synced by pid %d" (emacs-pid))
                                (buffer-string)))))))

(ert-deftest sync-test-commands-without-an-account ()
  (let ((mailsync-mode nil))
    (should-error (mailsync-sync) :type 'user-error)
    (should-error (mailsync-pause) :type 'user-error))
  (sync-test-with "" nil
    (should-error (mailsync-sync "w") :type 'user-error)
    (should-error (mailsync-sync "nobody") :type 'user-error)))

(ert-deftest sync-test-an-account-that-is-left-out ()
  "Whoever wants it synced is told why it is not."
  (sync-test-with "" 'no-such-function
    (dolist (account '("w" nil))
      (let ((text (error-message-string
                   (should-error (mailsync-sync account) :type 'user-error))))
        (dolist (part '("\"w\" is left out" "no function .no-such-function."
                        "mailsync-accounts"))
          (should (string-match-p part text)))))
    (setq mailsync-accounts (cons '("bad" :maildirs "~/x") mailsync-accounts))
    (mailsync-restart)
    (let ((text (error-message-string
                 (should-error (mailsync-sync "bad") :type 'user-error))))
      (should (string-match-p "\"bad\" is left out.*:maildirs" text)))))

(provide 'mailsync-sync-test)
;;; mailsync-sync-test.el ends here
